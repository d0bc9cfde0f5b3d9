"""Places and timeouts: what calls and lanes are bounded by."""

from __future__ import annotations

import asyncio

import pytest

from box_agent.bus.deadlines import Deadlines
from box_agent.bus.slots import Slots


async def test_places_are_handed_on_in_line() -> None:
    slots = Slots(1)
    assert slots.take_now()
    assert not slots.take_now()
    order: list[int] = []

    async def worker(number: int) -> None:
        await slots.take()
        order.append(number)
        slots.give()

    workers = [asyncio.create_task(worker(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert order == []
    slots.give()
    await asyncio.gather(*workers)
    assert order == [0, 1, 2, 3]
    assert slots.take_now()


async def test_one_who_leaves_the_line_loses_no_place() -> None:
    slots = Slots(1)
    assert slots.take_now()
    leaver, stayer = (asyncio.create_task(slots.take()) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.sleep(0)
    slots.give()
    await asyncio.wait_for(stayer, 1)
    slots.give()
    assert slots.take_now()


async def test_a_place_given_to_one_who_is_cancelled_at_that_moment_comes_back() -> None:
    slots = Slots(1)
    assert slots.take_now()
    waiting = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    slots.give()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slots.take_now()


class Item:
    def __init__(self) -> None:
        self.expired_at: float | None = None
        self.gone = asyncio.Event()

    def expire(self) -> None:
        self.expired_at = asyncio.get_running_loop().time()
        self.gone.set()


@pytest.mark.parametrize("timeout_s", [0.02, 1.02])
async def test_what_is_not_taken_back_expires_not_before_its_time(timeout_s: float) -> None:
    deadlines, item, began = Deadlines(), Item(), asyncio.get_running_loop().time()
    deadlines.add(item, timeout_s)
    await asyncio.wait_for(item.gone.wait(), 10)
    assert item.expired_at is not None
    assert item.expired_at - began >= timeout_s - 0.001


@pytest.mark.parametrize("timeout_s", [0.02, 1.02])
async def test_what_is_taken_back_does_not_expire(timeout_s: float) -> None:
    deadlines, kept, back = Deadlines(), Item(), Item()
    ticket = deadlines.add(back, timeout_s)
    last = deadlines.add(kept, timeout_s)
    deadlines.remove(back, ticket)
    await asyncio.wait_for(kept.gone.wait(), 10)
    deadlines.remove(kept, last)  # harmless
    assert back.expired_at is None
