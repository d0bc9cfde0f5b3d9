"""How skills run: in the main thread, so that a cancel can be raised in them.

A Box of sync skills only runs one call after the other. One with async skills runs an event loop in the main thread;
async calls share it up to ``concurrency``, sync skills of such a Box stop it while they run.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from box_agent.box.context import Context
from box_agent.box.program import Program, running
from box_agent.box.skill import Bound
from box_agent.worker.calls import RunningCall
from box_agent.worker.interrupt import CallCancelled, Interrupts

MakeContext = Callable[[RunningCall], Context]


class Execution(Protocol):
    """Where calls go; every call handed over gets its answer."""

    def submit(self, call: RunningCall | None) -> None:
        """From the reading thread; ``None`` ends `run` after what came before."""
        ...

    def cancel(self, call: RunningCall) -> None:
        """From the reading thread, after ``call.cancelled`` was set."""
        ...

    def run(self) -> None:
        """In the main thread, until told to end."""
        ...


class _Sync:
    """Runs one sync or generator skill in the main thread."""

    def __init__(self, program: Program, interrupts: Interrupts, context: MakeContext) -> None:
        self._program = program
        self._interrupts = interrupts
        self._context = context

    def answer(self, call: RunningCall) -> None:
        try:
            try:
                self._interrupts.arm(call)
                if call.asks_if_cancelled():
                    raise CallCancelled
                self._run(call)
            finally:
                self._interrupts.disarm()
        except CallCancelled as error:
            self._interrupts.disarm()  # the cancel may have come in just before the other one
            call.fail(error)
        except BaseException as error:  # noqa: BLE001 - SystemExit too is the skill's own, and its caller's to know
            call.fail(error)

    def _run(self, call: RunningCall) -> None:
        bound, instance = self._program.skill(call.skill)
        checked = bound.arguments(call.args, call.kwargs)
        context = self._context(call)
        token = running.set(context)
        try:
            value = bound.start(checked, instance=instance, context=context)
            items = bound.kind == "generator"
            if not items and inspect.isawaitable(value):
                value = asyncio.run(_awaited(value))
            if not call.credit:
                result = [bound.result(item) for item in value] if items else bound.result(value)
                call.result(result)
            else:
                self._stream(call, bound, value if items else iter((value,)))
        finally:
            running.reset(token)

    def _stream(self, call: RunningCall, bound: Bound, items: Iterator[Any]) -> None:
        try:
            for item in items:
                call.take()
                call.chunk(bound.result(item))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        call.end()


async def _awaited(value: Any) -> Any:
    return await value


class SerialExecution:
    """One call after the other; no event loop, no thread switch beyond the hand-over."""

    def __init__(self, program: Program, interrupts: Interrupts, context: MakeContext) -> None:
        self._sync = _Sync(program, interrupts, context)
        self._interrupts = interrupts
        self._queue: queue.SimpleQueue[RunningCall | None] = queue.SimpleQueue()

    def submit(self, call: RunningCall | None) -> None:
        self._queue.put(call)

    def cancel(self, call: RunningCall) -> None:
        self._interrupts.cancel(call)

    def run(self) -> None:
        while (call := self._queue.get()) is not None:
            self._sync.answer(call)


class LoopExecution:
    """An event loop in the main thread."""

    def __init__(self, program: Program, interrupts: Interrupts, context: MakeContext, concurrency: int) -> None:
        self._program = program
        self._interrupts = interrupts
        self._context = context
        self._sync = _Sync(program, interrupts, context)
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending = asyncio.Event()

    def submit(self, call: RunningCall | None) -> None:
        self._loop.call_soon_threadsafe(self._accept, call)

    def cancel(self, call: RunningCall) -> None:
        self._interrupts.cancel(call)
        self._loop.call_soon_threadsafe(self._cancel, call)

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_told())

    async def _until_told(self) -> None:
        await self._ending.wait()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def _accept(self, call: RunningCall | None) -> None:
        if call is None:
            self._ending.set()
            return
        task = self._loop.create_task(self._answer(call), name=f"{call.skill} {call.id}")
        self._tasks[call.id] = task
        task.add_done_callback(lambda _: self._ended(call))

    def _ended(self, call: RunningCall) -> None:
        self._tasks.pop(call.id, None)
        if not call.answered:  # cancelled before its first step
            call.fail(asyncio.CancelledError())

    def _cancel(self, call: RunningCall) -> None:
        task = self._tasks.get(call.id)
        if task is not None and not call.heard:
            call.heard = True
            task.cancel()

    async def _answer(self, call: RunningCall) -> None:
        try:
            async with self._slots:
                bound, instance = self._program.skill(call.skill)
                if bound.kind in ("sync", "generator"):
                    self._sync.answer(call)
                else:
                    await self._run(call, bound, instance)
        except asyncio.CancelledError as error:
            if not call.cancelled:
                raise
            call.fail(error)
        except BaseException as error:  # noqa: BLE001 - as in _Sync.answer
            call.fail(error)

    async def _run(self, call: RunningCall, bound: Bound, instance: Any) -> None:
        checked = bound.arguments(call.args, call.kwargs)
        context = self._context(call)
        running.set(context)  # this task's own
        value = bound.start(checked, instance=instance, context=context)
        single = bound.kind == "async"
        if call.credit:
            await self._stream(call, bound, _single(value) if single else value)
        elif single:
            call.result(bound.result(await value))
        else:
            call.result([bound.result(item) async for item in value])

    async def _stream(self, call: RunningCall, bound: Bound, items: AsyncIterator[Any]) -> None:
        refilled = asyncio.Event()
        call.on_credit = lambda: self._loop.call_soon_threadsafe(refilled.set)
        try:
            async for item in items:
                while not call.take_now():
                    refilled.clear()  # set by the loop only, so a credit given meanwhile sets it again
                    await refilled.wait()
                call.chunk(bound.result(item))
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
        call.end()


async def _single(value: Any) -> AsyncIterator[Any]:
    yield await value


def execution_for(program: Program, interrupts: Interrupts, context: MakeContext, concurrency: int) -> Execution:
    """The lightest one that can run all skills of ``program``."""
    kinds = {program.bound(name).kind for name in program.routes}
    if kinds & {"async", "async_generator"}:
        return LoopExecution(program, interrupts, context, concurrency)
    return SerialExecution(program, interrupts, context)
