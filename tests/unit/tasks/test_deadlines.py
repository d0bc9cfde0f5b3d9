"""Timeouts as points in time, and what acting on them does."""

from __future__ import annotations

import pytest

from hub.tasks import state
from hub.tasks.deadlines import due_at, overdue
from hub.tasks.record import NEVER, StoredTask, digest
from schemas.errors import AttemptLost
from schemas.task import Report, Retry, TaskSpec, Timeouts

T0 = 1_000_000.0
NO_LIMITS = Timeouts(start_s=None)


def submitted(timeouts: Timeouts, **fields: object) -> StoredTask:
    spec = TaskSpec.model_validate({"id": "t", "box": "b", "skill": "s", "timeouts": timeouts} | fields)
    return state.submit(spec, tenant="t", submitter="me", digest=digest(spec), now=T0)


def assigned(task: StoredTask, now: float = T0) -> StoredTask:
    return state.assign(task, runner="r", instance="i", box="", lease_s=15, now=now)


def reported(task: StoredTask, kind: str, now: float, sequence: int = 1) -> StoredTask:
    report = Report.model_validate({
        "task": "t", "attempt": task.attempts[-1].number, "sequence": sequence, "kind": kind, "at": now,
    })  # fmt: skip
    return state.apply_report(task, report, sender="r", now=now, random=lambda: 0.5)


def test_without_limits_nothing_is_due_but_the_lease() -> None:
    task = submitted(NO_LIMITS)
    assert due_at(task) == NEVER
    assert due_at(assigned(task)) == T0 + 15
    assert overdue(task, T0 + 1e9) is None


@pytest.mark.parametrize(
    ("timeouts", "at"),
    [
        (Timeouts(queue_s=5), T0 + 5),
        (Timeouts(total_s=7), T0 + 7),
        (Timeouts(queue_s=5, total_s=3), T0 + 3),
    ],
)
def test_a_queued_task_fails_when_its_time_is_up(timeouts: Timeouts, at: float) -> None:
    task = submitted(timeouts)
    assert due_at(task) == at
    assert state.expire(task, at - 0.001) is task
    failed = state.expire(task, at)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.code == "deadline_exceeded"
    assert due_at(failed) == NEVER


def test_the_start_timeout_ends_with_the_start() -> None:
    task = assigned(submitted(Timeouts(start_s=5)))
    assert due_at(task) == T0 + 5
    running = reported(task, "started", T0 + 4)
    assert overdue(running, T0 + 100) is None
    stopping = state.expire(task, T0 + 5)
    assert stopping.attempts[-1].stopping is not None
    assert stopping.attempts[-1].live, "until it is proved"
    assert state.expire(stopping, T0 + 50) is stopping, "asked once"


def test_the_attempt_timeout_counts_from_the_start_and_is_retried() -> None:
    task = submitted(Timeouts(start_s=None, attempt_s=5), retry=Retry(max_attempts=2, initial_s=1, jitter=0))
    running = reported(assigned(task), "started", T0 + 3)
    assert due_at(running) == T0 + 8
    stopping = state.expire(running, T0 + 8)
    again = reported(stopping, "stopped", T0 + 9, sequence=2)
    assert (again.phase, again.not_before) == ("queued", T0 + 10)
    assert again.attempts[-1].error is not None
    assert again.attempts[-1].error.code == "deadline_exceeded"
    assert again.attempts[-1].error.details["timeout"] == "attempt"
    last = state.expire(reported(assigned(again, T0 + 10), "started", T0 + 10), T0 + 15)
    assert reported(last, "stopped", T0 + 16, sequence=2).state == "failed"


def test_a_result_that_comes_before_the_stop_counts() -> None:
    running = reported(assigned(submitted(Timeouts(attempt_s=5))), "started", T0)
    stopping = state.expire(running, T0 + 5)
    assert reported(stopping, "completed", T0 + 6, sequence=2).state == "completed"


def test_a_stop_nobody_asked_for_is_tried_again() -> None:
    running = reported(assigned(submitted(NO_LIMITS)), "started", T0)
    stopped = reported(running, "stopped", T0 + 1, sequence=2)
    assert stopped.phase == "queued"
    assert stopped.attempts[-1].error is not None
    assert stopped.attempts[-1].error.code == AttemptLost.code


def test_waiting_for_a_retry_does_not_count_as_waiting_for_a_place() -> None:
    task = submitted(Timeouts(queue_s=5), retry=Retry(initial_s=100, max_s=100, jitter=0))
    again = reported(assigned(task), "stopped", T0 + 1)
    assert due_at(again) == T0 + 101 + 5
