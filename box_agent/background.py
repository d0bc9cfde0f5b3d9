"""One event loop in a daemon thread per process: where the sync API's coroutines run."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_CLOSE_S = 15.0
_END: Any = object()


class Background:
    """Runs coroutines for threads that block on them. Works beside a loop that already runs there (Jupyter)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closers: dict[int, Callable[[], Coroutine[Any, Any, None]]] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="boxhub", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result. An interrupt of the waiting thread (Ctrl-C) cancels it."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking verb was called on the event loop; coroutines use box_agent.aio")
        if self._closed:
            coroutine.close()
            raise RuntimeError("this process is ending; its agents are closed")
        future: Future[T] | None = None
        try:  # from here on: the loop may be at work, and the interrupt arrive, before the next line is reached
            future = asyncio.run_coroutine_threadsafe(self._tracked(coroutine), self._loop)
            return future.result()
        except BaseException:
            if future is not None:
                future.cancel()
            raise

    async def _tracked(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await coroutine
        finally:
            self._running.discard(task)

    def do(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function on the loop."""

        async def call() -> T:
            return function(*args)

        return self.run(call())

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """The items of an async iterator; leaving the loop closes it."""
        try:
            while (item := self.run(_next(source))) is not _END:
                yield item
        finally:
            closing = getattr(source, "aclose", None)
            if closing is not None and not self._closed:
                self.run(closing())

    def close_at_exit(self, owner: object, closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``closer`` before the process ends, unless `forget` came first."""
        self._closers[id(owner)] = closer
        atexit.unregister(self.close)
        atexit.register(self.close)  # last in, first out: agents say goodbye before a hub started for them is stopped

    def forget(self, owner: object) -> None:
        self._closers.pop(id(owner), None)

    def close(self) -> None:
        """Close what is open, within a bound, and stop the loop. Harmless twice, and in a forked child."""
        if self._closed or not self._thread.is_alive():
            return
        closers = list(self._closers.values())

        async def close_all() -> None:
            left = self._running - {asyncio.current_task()}  # nobody waits for them any longer
            for task in left:
                task.cancel()
            async with asyncio.timeout(_CLOSE_S):
                if left:
                    await asyncio.wait(left)
                await asyncio.gather(*(closer() for closer in closers))

        try:
            self.run(close_all())
        except TimeoutError:
            pass  # the process ends anyway; the server sees the connections go
        finally:
            self._closed = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


async def _next(source: AsyncIterator[T]) -> T:
    try:
        return await anext(source)
    except StopAsyncIteration:  # cannot pass through a future
        return _END  # type: ignore[no-any-return]


class PerProcess:
    """The `Background` of this process; a forked child gets one of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Background | None = None
        os.register_at_fork(after_in_child=self._after_fork)

    def get(self) -> Background:
        with self._lock:
            if self._made is None:
                self._made = Background()
            return self._made

    def _after_fork(self) -> None:
        """The thread did not come along, and the lock may have been held by one that did not either."""
        self._lock = threading.Lock()
        self._made = None
