"""Tasks of registered Boxes: every attempt in a fresh live box, which ends with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from box_agent.agent import Agent
from box_agent.live import register
from box_agent.node.service import Node
from box_agent.worker.processes import alive
from schemas.errors import BoxDied, DeadlineExceeded, SkillFailed, SkillNotFound
from schemas.task import Retry, Timeouts
from tests.integration.node.boxes import Slow, Unready, Workshop
from tests.integration.node.conftest import StartNode
from tests.integration.node.waiting import until

pytestmark = pytest.mark.nats_versions("current")

AT_ONCE = Retry(max_attempts=3, initial_s=0, jitter=0)


async def test_every_attempt_gets_a_box_of_its_own(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    handles = [await planner.delegate("workshop", "pid") for _ in range(6)]
    pids = [await handle.result(timeout_s=20) for handle in handles]
    assert len(set(pids)) == 6
    boxes = [(await handle.get()).attempts[-1].box for handle in handles]  # before it, some may have been refused
    assert len(set(boxes)) == 6
    assert all(box.startswith("workshop-") for box in boxes)
    await until(lambda: not node.boxes.records())
    assert not any(alive(pid) for pid in pids)


async def test_progress_and_logs_are_updates_of_the_task(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    handle = await planner.delegate("workshop", "talk", {"steps": 3})
    address = await handle.result(timeout_s=20)
    updates = [update async for update in handle.updates()]
    assert [u.data["note"] for u in updates if u.kind == "progress"] == ["step 0", "step 1", "step 2"]
    assert [u.data["text"] for u in updates if u.kind == "log"] == ["line 0", "line 1", "line 2"]
    assert (await handle.get()).attempts[0].box == address


async def test_a_streaming_skill_gives_the_list_of_its_items(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    handle = await planner.delegate("workshop", "count", {"n": 50})
    assert await handle.result(timeout_s=20) == list(range(50))


async def test_what_the_skill_raised_is_the_tasks_error(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    handle = await planner.delegate("workshop", "fail", {"text": "sour"}, retry=Retry(max_attempts=2, initial_s=0))
    with pytest.raises(SkillFailed, match="sour"):
        await handle.result(timeout_s=20)
    record = await handle.get()
    assert [a.error.details["type"] for a in record.attempts if a.error] == ["ValueError"] * 2
    assert record.attempts[0].box != record.attempts[1].box
    unknown = await planner.delegate("workshop", "nothing")
    with pytest.raises(SkillNotFound, match="add"):
        await unknown.result(timeout_s=20)


async def test_an_attempt_names_its_box_although_that_came_to_nothing(node: Node, planner: Agent) -> None:
    await register(planner, Unready)
    handle = await planner.delegate("unready", "wait", retry=Retry(max_attempts=2, initial_s=0))
    with pytest.raises(SkillFailed, match="not today"):
        await handle.result(timeout_s=20)
    boxes = [attempt.box for attempt in (await handle.get()).attempts if attempt.state != "refused"]
    assert len(set(boxes)) == 2
    assert all(box.startswith("unready-") for box in boxes)


async def test_a_worker_killed_in_an_attempt_is_tried_again(node: Node, planner: Agent, tmp_path: Path) -> None:
    await register(planner, Workshop)
    handle = await planner.delegate("workshop", "die_until", {"marker": str(tmp_path / "deaths")}, retry=AT_ONCE)
    assert await handle.result(timeout_s=20) == 2
    first = (await handle.get()).attempts[0]
    assert first.error is not None
    assert (first.error.code, first.error.details["signal"]) == (BoxDied.code, 9)


@pytest.mark.parametrize("how", ["cancel", "attempt_s", "total_s"])
async def test_what_ends_an_attempt_ends_its_processes_first(
    node: Node, planner: Agent, tmp_path: Path, how: str
) -> None:
    await register(planner, Workshop)
    marker = tmp_path / "held"
    timeouts = Timeouts() if how == "cancel" else Timeouts(**{how: 4.0})
    handle = await planner.delegate(
        "workshop", "hold", {"marker": str(marker)}, timeouts=timeouts, retry=Retry(max_attempts=1)
    )
    await until(lambda: marker.exists() and marker.read_text().endswith("\n"))
    pids = [int(pid) for pid in marker.read_text().split()]
    if how == "cancel":
        await handle.cancel("enough")
        await until_stopped(handle, 10)
        record = await handle.get()
        assert record.cancel is not None
        assert (record.state, record.cancel.proof) == ("canceled", "stopped")
    else:
        with pytest.raises(DeadlineExceeded):
            await handle.result(timeout_s=20)
    assert not any(alive(pid) for pid in pids)
    await until(lambda: not node.boxes.records())


async def until_stopped(handle, timeout_s: float) -> None:
    """The cancel is proved."""
    async with asyncio.timeout(timeout_s):
        while not ((record := await handle.get()).cancel and record.cancel.stopped_at):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_cancel_before_the_box_is_ready_leaves_nothing(node: Node, planner: Agent) -> None:
    await register(planner, Slow)
    handle = await planner.delegate("slow", "wait_for", {"seconds": 60})
    await until(lambda: node.info().attempts == 1)
    await handle.cancel()
    await until_stopped(handle, 10)
    assert (await handle.get()).state == "canceled"
    await until(lambda: not node.boxes.records())


async def test_a_task_for_a_live_box_runs_in_it(node: Node, planner: Agent) -> None:
    async with await planner.spawn(Slow) as live:
        handle = await planner.delegate(live, "wait_for", {"seconds": 0.01})
        assert await handle.result(timeout_s=20) == "waited"
        assert (await handle.get()).attempts[0].box == live.address
        held = await planner.delegate(live, "wait_for", {"seconds": 60})
        await until(lambda: node.boxes.records()[0].calls == 1)
        await held.cancel()
        await until_stopped(held, 10)
        assert await live.wait_for(0) == "waited", "the box lives on"


async def test_no_more_attempts_than_the_node_takes(start_node: StartNode, planner: Agent) -> None:
    node = await start_node(max_attempts=2, max_boxes=2)
    await register(planner, Slow)
    most = 0
    handles = [await planner.delegate("slow", "wait_for", {"seconds": 0.2}) for _ in range(8)]

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, node.info().attempts)
            await asyncio.sleep(0.005)

    watching = asyncio.ensure_future(watch())
    for handle in handles:
        assert await handle.result(timeout_s=30) == "waited"
    watching.cancel()
    assert most == 2
    assert {len((await handle.get()).attempts) - _refused(await handle.get()) for handle in handles} == {1}


def _refused(record) -> int:
    return sum(attempt.state == "refused" for attempt in record.attempts)
