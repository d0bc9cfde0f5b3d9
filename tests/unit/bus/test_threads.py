"""Blocking functions in threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from box_agent.bus import trace
from box_agent.bus.threads import Threads


async def test_results_and_errors_come_back() -> None:
    threads = Threads("t")
    assert await threads.run(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    threads.close()


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), StopIteration(1)])
async def test_what_must_not_end_the_loop_is_wrapped(error: BaseException) -> None:
    threads = Threads("t")

    def fail() -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        await threads.run(fail)
    threads.close()


async def test_an_idle_thread_is_used_again_and_more_are_made_when_busy() -> None:
    threads = Threads("t")
    first = await threads.run(threading.get_ident)
    assert await threads.run(threading.get_ident) == first
    barrier = threading.Barrier(3)
    await asyncio.gather(*(threads.run(barrier.wait, 10) for _ in range(3)))
    threads.close()


async def test_the_context_goes_along() -> None:
    threads = Threads("t")
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    token = trace.use(given)
    assert await threads.run(trace.current) == given
    trace.reset(token)
    assert await threads.run(trace.current) is None
    threads.close()


async def test_a_cancelled_waiter_lets_go_of_the_function() -> None:
    threads, gate, returned = Threads("t"), threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(10)
        returned.set()

    waiting = asyncio.create_task(threads.run(work))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert await asyncio.to_thread(returned.wait, 10)
    threads.close()
