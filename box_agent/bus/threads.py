"""Daemon threads for users' blocking functions."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Threads:
    """Grows with the jobs that run at once (their callers bound those) and keeps idle threads for the next.

    The threads are daemons: a function that never returns cannot keep the interpreter from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """The function's result. Cancelled, it lets go of the function, which runs to its end unseen."""
        return await self.start(function, *args)

    def start(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """A future that is done when the function has really returned; cancelling it stops nothing."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        self._busy += 1
        future.add_done_callback(self._returned)
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._jobs.put((loop, future, lambda: context.run(function, *args)))
        return future

    def close(self) -> None:
        """Idle threads end now, busy ones when their function returns."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _returned(self, future: asyncio.Future[Any]) -> None:
        self._busy -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, function = job
            try:
                result, error = function(), None
            except BaseException as raised:  # noqa: BLE001 - it is handed to whoever awaits the future
                result, error = None, raised
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del job, function, result, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # cannot be raised into a future
        future.set_exception(RuntimeError(f"StopIteration: {error}"))
    elif isinstance(error, Exception):
        future.set_exception(error)
    else:  # SystemExit, KeyboardInterrupt raised by the function itself
        future.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
