"""Streaming skills: order, credit, early ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from schemas.errors import DeadlineExceeded, SkillFailed
from tests.conformance.box.boxes import Lounge, Workshop
from tests.conformance.box.conftest import Flag, Workbench, ask, there


@pytest.mark.shared
@pytest.mark.parametrize("box", [Workshop, Lounge])
@pytest.mark.parametrize("credit", [1, 2, 16])
async def test_items_come_in_order(bench: Workbench, box: type[Workshop | Lounge], credit: int) -> None:
    live = await bench.spawn(box)
    assert [item async for item in live.stream(ask("upto", 100), credit)] == list(range(100))
    assert [item async for item in live.stream(ask("upto", 0), credit)] == []


@pytest.mark.shared
async def test_other_skills_stream_their_one_result_and_streaming_ones_can_be_called(bench: Workbench) -> None:
    for box in (Workshop, Lounge):
        live = await bench.spawn(box)
        assert [item async for item in live.stream(ask("add", 1, 2))] == [3]
        assert await live.call(ask("upto", 3)) == [0, 1, 2]
    assert [item async for item in live.stream(ask("nap", 0.0))] == [0.0]


@pytest.mark.shared
async def test_items_before_a_failure_are_delivered(bench: Workbench) -> None:
    live = await bench.spawn(Workshop)
    got: list[int] = []
    with pytest.raises(SkillFailed, match="that was the last one"):
        await _read(live.stream(ask("upto_then_fail", 40), 4), got)
    assert got == list(range(40))


@pytest.mark.shared
async def test_a_skill_is_never_further_ahead_than_its_credit(bench: Workbench, flag: Flag) -> None:
    live = await bench.spawn(Workshop)
    stream = live.stream(ask("forever", str(flag)), 8)
    for expected in range(20):
        assert await anext(stream) == expected
    await stream.aclose()  # type: ignore[attr-defined]
    assert 19 <= int(await there(flag)) <= 20 + 8  # 19: the last item was read before the skill went on
    assert await live.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
async def test_a_reader_that_stops_reading_can_leave(bench: Workbench, flag: Flag) -> None:
    live = await bench.spawn(Workshop)

    async def read() -> None:
        async for _ in live.stream(ask("forever", str(flag)), 2):
            await asyncio.Event().wait()

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await there(flag)
    assert await live.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
async def test_the_deadline_covers_the_whole_stream(bench: Workbench, flag: Flag) -> None:
    live = await bench.spawn(Workshop)
    seen: list[int] = []
    with pytest.raises(DeadlineExceeded):
        await _read(live.stream(ask("forever", str(flag), timeout_s=0.3)), seen)
    assert seen
    assert flag.exists()


async def _read(items: AsyncIterator[int], into: list[int]) -> None:
    async for item in items:
        into.append(item)
