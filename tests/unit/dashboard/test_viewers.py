"""A viewer's queue: bounded, ordered, and fresh again after it overflowed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from hub.dashboard.viewers import Frame, Viewer


def numbered(now: Callable[[], int]) -> Callable[[], Frame]:
    return lambda: Frame(json.dumps({"type": "snapshot", "seq": now()}))


def delta(seq: int, rows: int = 0) -> Frame:
    return Frame(json.dumps({"type": "delta", "seq": seq}), rows)


async def take(viewer: Viewer) -> dict[str, object]:
    async with asyncio.timeout(5):
        frame: dict[str, object] = json.loads(await viewer.next())
        return frame


async def test_the_first_frame_is_a_snapshot_and_earlier_deltas_are_in_it() -> None:
    viewer = Viewer(numbered(lambda: 7), frames_waiting=4)
    viewer.offer(delta(7))
    assert await take(viewer) == {"type": "snapshot", "seq": 7}
    viewer.offer(delta(8))
    viewer.offer(delta(9))
    assert [(await take(viewer))["seq"] for _ in range(2)] == [8, 9]


async def test_a_slow_viewer_is_told_what_it_missed_and_gets_a_snapshot() -> None:
    seq = 0
    viewer = Viewer(numbered(lambda: seq), frames_waiting=3)
    await take(viewer)
    for seq in range(1, 8):
        viewer.offer(delta(seq, rows=10))
        assert viewer.waiting <= 3
    assert await take(viewer) == {"type": "missed", "frames": 4, "rows": 40}
    assert await take(viewer) == {"type": "snapshot", "seq": 7}
    viewer.offer(delta(8))
    assert await take(viewer) == {"type": "delta", "seq": 8}


async def test_next_waits_for_a_frame() -> None:
    viewer = Viewer(numbered(lambda: 0), frames_waiting=3)
    await take(viewer)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(take(viewer))
        while not waiting.done():
            await asyncio.sleep(0)
            viewer.offer(delta(1))
    assert waiting.result()["seq"] == 1


async def test_a_cancelled_next_loses_nothing() -> None:
    viewer = Viewer(numbered(lambda: 0), frames_waiting=3)
    await take(viewer)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await viewer.next()
    viewer.offer(delta(1))
    assert (await take(viewer))["seq"] == 1


async def test_resync_gives_a_snapshot_in_place_of_what_waits() -> None:
    viewer = Viewer(numbered(lambda: 5), frames_waiting=3)
    await take(viewer)
    viewer.offer(delta(6))
    viewer.resync()
    assert await take(viewer) == {"type": "snapshot", "seq": 5}
    assert viewer.waiting == 0
