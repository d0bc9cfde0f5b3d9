"""Cancel is proved: in every state, and down to the children."""

from __future__ import annotations

import asyncio
import threading

import pytest

from schemas.errors import Cancelled, TerminalState
from schemas.task import Retry, TaskRecord
from tests.integration.tasks.conftest import Join
from tests.integration.tasks.hub import TaskHub

pytestmark = pytest.mark.nats_versions("current")


def canceled(task: TaskRecord) -> bool:
    return task.state == "canceled"


def stamps_are_ordered(task: TaskRecord) -> bool:
    cancel = task.cancel
    assert cancel is not None
    stamps = [s for s in (cancel.requested_at, cancel.acknowledged_at, cancel.stopped_at) if s is not None]
    return stamps == sorted(stamps) and cancel.stopped_at is not None


async def test_before_it_starts_it_is_immediate(hub: TaskHub, join: Join) -> None:
    planner = await join("planner")
    handle = await planner.delegate("nobody", "work")
    record = await handle.cancel("changed my mind")
    assert record.state == "canceled"
    assert record.cancel is not None
    assert (record.cancel.proof, record.cancel.reason) == ("not_running", "changed my mind")
    with pytest.raises(Cancelled, match="changed my mind"):
        await handle.result(timeout_s=5)
    assert (await handle.cancel("again")).state == "canceled", "twice is fine"
    late = await join("nobody")
    ran = []

    @late.skill
    async def work() -> None:
        ran.append(1)

    other = await planner.delegate("nobody", "work")
    await other.result(timeout_s=5)
    assert ran == [1], "only the other task ran"


async def test_while_it_runs_it_is_said_only_when_the_work_has_ended(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")
    started, asked, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event(), False

    @worker.skill
    async def stubborn() -> None:
        nonlocal ended
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            asked.set()
            await may_end.wait()  # clean-up that takes its time
            ended = True

    handle = await planner.delegate("worker", "stubborn")
    await started.wait()
    assert not (await handle.cancel()).terminal
    await asked.wait()
    record = await hub.until(handle.id, lambda t: t.cancel is not None and t.cancel.acknowledged_at is not None)
    assert not record.terminal, "acknowledged is not stopped"
    told = await hub.service.task_explain(handle.id)
    assert "has not said that it stopped" in told["why"]
    may_end.set()
    record = await hub.until(handle.id, canceled)
    assert ended
    assert stamps_are_ordered(record)
    assert record.cancel is not None
    assert record.cancel.proof == "stopped"


async def test_a_busy_sync_function_is_not_said_to_have_stopped_before_it_has(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")
    started, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @worker.skill
    def busy() -> str:
        loop.call_soon_threadsafe(started.set)
        release.wait(20)
        return "done all the same"

    handle = await planner.delegate("worker", "busy")
    await started.wait()
    await handle.cancel()
    record = await hub.until(handle.id, lambda t: t.cancel is not None and t.cancel.acknowledged_at is not None)
    assert not record.terminal
    release.set()
    record = await hub.until(handle.id, lambda t: t.terminal)
    assert record.state == "canceled"
    assert stamps_are_ordered(record)


async def test_between_two_attempts_it_is_immediate(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")
    tries = []

    @worker.skill
    async def fails() -> None:
        tries.append(1)
        raise RuntimeError("no")

    handle = await planner.delegate("worker", "fails", retry=Retry(max_attempts=5, initial_s=30, jitter=0))
    await hub.until(handle.id, lambda t: t.state == "submitted" and bool(t.attempts) and not t.attempts[-1].live)
    record = await handle.cancel()
    assert record.state == "canceled"
    assert tries == [1]


async def test_when_it_was_just_assigned(hub: TaskHub, join: Join) -> None:
    """Submit and cancel at once, many times: whatever wins the race, nothing runs on."""
    worker, planner = await join("worker", attempts=100), await join("planner")
    running = 0

    @worker.skill
    async def hang() -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1

    async def one() -> TaskRecord:
        handle = await planner.delegate("worker", "hang")
        await handle.cancel()
        return await hub.until(handle.id, canceled)

    async with asyncio.TaskGroup() as group:
        records = [group.create_task(one()) for _ in range(40)]
    assert running == 0
    assert all(stamps_are_ordered(r.result()) for r in records)


async def test_after_its_end_it_is_refused(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    async def quick() -> int:
        return 1

    handle = await planner.delegate("worker", "quick")
    await handle.result(timeout_s=10)
    with pytest.raises(TerminalState):
        await handle.cancel()
    assert (await handle.get()).state == "completed"


async def test_children_and_theirs_are_cancelled_too(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")
    running: set[str] = set()
    all_run = asyncio.Event()

    @worker.skill
    async def hang(name: str) -> None:
        running.add(name)
        if len(running) == 3:
            all_run.set()
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(name)

    parent = await planner.delegate("worker", "hang", {"name": "parent"})
    child = await planner.delegate("worker", "hang", {"name": "child"}, parent=parent.id)
    grandchild = await planner.delegate("worker", "hang", {"name": "grandchild"}, parent=child.id)
    await all_run.wait()
    await parent.cancel("enough")
    for handle in (parent, child, grandchild):
        record = await hub.until(handle.id, canceled)
        assert stamps_are_ordered(record)
    assert not running
    born_late = await planner.delegate("worker", "hang", {"name": "late"}, parent=child.id)
    await hub.until(born_late.id, canceled)
    assert not running
