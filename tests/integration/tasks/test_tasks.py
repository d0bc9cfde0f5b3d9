"""Delegated tasks end to end: submit, run, report, follow, retry, fail."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from schemas.errors import DeadlineExceeded, IdempotencyConflict, SkillFailed, SkillNotFound, TaskNotFound
from schemas.task import FailureRule, Retry, TaskSpec, Timeouts
from tests.integration.tasks.conftest import Join
from tests.integration.tasks.hub import TaskHub


async def test_a_task_runs_and_its_updates_tell_the_story(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    async def add(a: int, b: int) -> int:
        return a + b

    handle = await planner.delegate("worker", "add", {"a": 1, "b": 2})
    assert await handle.result(timeout_s=10) == 3
    updates = [u async for u in handle.updates()]
    assert [u.number for u in updates] == list(range(1, len(updates) + 1))
    assert updates[0].state == "submitted"
    assert updates[-1].state == "completed"
    record = await handle.get()
    assert (record.submitter, record.state, len(record.attempts)) == ("planner", "completed", 1)
    assert record.attempts[0].runner == "worker"
    assert record.attempts[0].started_at is not None


async def test_submitting_twice_is_one_task(hub: TaskHub, join: Join) -> None:
    runs: list[int] = []
    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    async def count(step: int) -> int:
        runs.append(step)
        return len(runs)

    specs = [TaskSpec(id="once", box="worker", skill="count", arguments={"step": 1})] * 10
    async with asyncio.TaskGroup() as group:
        submissions = [group.create_task(planner.tasks.submit(spec)) for spec in specs]
    assert {s.result().id for s in submissions} == {"once"}
    assert (await planner.tasks.wait("once", 10)).result == 1
    assert (await planner.tasks.submit(specs[0])).result == 1, "also after it has ended"
    with pytest.raises(IdempotencyConflict):
        await planner.tasks.submit(TaskSpec(id="once", box="worker", skill="count", arguments={"step": 2}))
    assert runs == [1]


async def test_a_task_waits_for_its_box_and_says_so(hub: TaskHub, join: Join) -> None:
    planner = await join("planner")
    handle = await planner.delegate("late", "greet")
    told = await hub.service.task_explain(handle.id)
    assert told["phase"] == "queued"
    assert told["position"] == 1
    record = await hub.until(handle.id, lambda task: bool(task.pending))
    assert "nobody is connected as 'late'" in record.pending
    late = await join("late")

    @late.skill
    async def greet() -> str:
        return "hello"

    assert await handle.result(timeout_s=10) == "hello"


async def test_an_unknown_skill_fails_at_once_and_names_those_there_are(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    async def known() -> None: ...

    handle = await planner.delegate("worker", "unknown")
    with pytest.raises(SkillNotFound, match="known"):
        await handle.result(timeout_s=10)
    assert len((await handle.get()).attempts) == 1


async def test_a_failing_skill_is_retried_with_backoff_and_then_fails(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")
    tries: list[float] = []

    @worker.skill
    def flaky(succeed_at: int) -> int:
        tries.append(time.monotonic())
        if len(tries) < succeed_at:
            raise ValueError("not yet")
        return len(tries)

    retry = Retry(max_attempts=3, initial_s=0.2, factor=2, jitter=0)
    handle = await planner.delegate("worker", "flaky", {"succeed_at": 3}, retry=retry)
    assert await handle.result(timeout_s=10) == 3
    assert tries[1] - tries[0] >= 0.2
    assert tries[2] - tries[1] >= 0.4
    record = await handle.get()
    assert [a.number for a in record.attempts] == [1, 2, 3]
    assert [a.error.code for a in record.attempts if a.error] == ["skill_failed"] * 2

    tries.clear()
    handle = await planner.delegate("worker", "flaky", {"succeed_at": 9}, retry=Retry(max_attempts=2, initial_s=0))
    with pytest.raises(SkillFailed, match="not yet"):
        await handle.result(timeout_s=10)
    assert len(tries) == 2


async def test_a_rule_may_forbid_the_retry(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    def wrong() -> None:
        raise KeyError("no")

    rules = [FailureRule(match=["KeyError"], action="fail")]
    handle = await planner.delegate("worker", "wrong", on_failure=rules)
    with pytest.raises(SkillFailed):
        await handle.result(timeout_s=10)
    assert len((await handle.get()).attempts) == 1


async def test_more_tasks_than_places_wait_in_order_of_priority(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker", attempts=1), await join("planner")
    started, gate, order = asyncio.Event(), asyncio.Event(), []

    @worker.skill
    async def note(name: str) -> None:
        order.append(name)
        started.set()
        await gate.wait()

    first = await planner.delegate("worker", "note", {"name": "first"})
    await started.wait()
    names = {"low": -1, "middle": 0, "high": 5}
    waiting = [await planner.delegate("worker", "note", {"name": n}, priority=p) for n, p in names.items()]
    told = {name: await hub.service.task_explain(h.id) for name, h in zip(names, waiting, strict=True)}
    assert {name: t["position"] for name, t in told.items()} == {"low": 3, "middle": 2, "high": 1}
    assert "busy" in told["low"]["why"]
    gate.set()
    for handle in [first, *waiting]:
        await handle.result(timeout_s=10)
    assert order == ["first", "high", "middle", "low"]


async def test_progress_logs_and_artifacts_are_updates_that_a_late_reader_gets(hub: TaskHub, join: Join) -> None:
    from box_agent.box.context import Context

    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    async def talk(context: Context) -> None:
        for i in range(100):
            context.progress(i)
            await asyncio.sleep(0)

    handle = await planner.delegate("worker", "talk")
    await handle.result(timeout_s=20)
    updates = [u async for u in handle.updates()]
    assert [u.number for u in updates] == list(range(1, len(updates) + 1))
    assert len([u for u in updates if u.kind == "progress"]) == 100
    resumed = [u.number async for u in handle.updates(after=57)]
    assert resumed == [u.number for u in updates if u.number > 57]


@pytest.mark.parametrize(
    ("which", "timeouts"),
    [
        ("attempt", Timeouts(attempt_s=0.3)),
        ("total", Timeouts(total_s=0.3)),
    ],
)
async def test_a_timeout_ends_the_attempt_and_then_the_task(
    hub: TaskHub, join: Join, which: str, timeouts: Timeouts
) -> None:
    worker, planner = await join("worker"), await join("planner")
    ended: list[str] = []

    @worker.skill
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    handle = await planner.delegate("worker", "hang", timeouts=timeouts, retry=Retry(max_attempts=2, initial_s=0))
    with pytest.raises(DeadlineExceeded):
        await handle.result(timeout_s=10)
    record = await handle.get()
    assert len(ended) == len(record.attempts) == (2 if which == "attempt" else 1)
    assert record.error is not None
    assert all(a.state == "ended" for a in record.attempts)


async def test_the_queue_timeout_fails_a_task_nobody_takes(hub: TaskHub, join: Join) -> None:
    planner = await join("planner")
    handle = await planner.delegate("nobody", "work", timeouts=Timeouts(queue_s=0.3))
    with pytest.raises(DeadlineExceeded, match="queue"):
        await handle.result(timeout_s=10)
    assert (await handle.get()).attempts == []


async def test_a_task_nobody_knows(hub: TaskHub, join: Join) -> None:
    planner = await join("planner")
    with pytest.raises(TaskNotFound):
        await planner.tasks.get("nothing")
    with pytest.raises(TaskNotFound):
        await planner.delegate("worker", "work", parent="nothing")


async def test_a_place_is_free_when_its_end_is_heard(hub: TaskHub, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub fills a place as soon as it reads the report; a runner that then says no costs the task a pause."""
    worker, planner = await join("worker", attempts=1), await join("planner")
    publish = worker.publisher.publish

    async def acknowledged_late(*report: Any) -> Any:
        acknowledged = await publish(*report)
        await asyncio.sleep(0.05)
        return acknowledged

    monkeypatch.setattr(worker.publisher, "publish", acknowledged_late)

    @worker.skill
    async def add(a: int) -> int:
        return a + 1

    async with asyncio.TaskGroup() as group:
        handles = [group.create_task(planner.delegate("worker", "add", {"a": n})) for n in range(20)]
    assert [await h.result().result(timeout_s=20) for h in handles] == list(range(1, 21))
    records = [await h.result().get() for h in handles]
    assert [r.id for r in records if len(r.attempts) > 1] == []
