"""What reports leave in a task's record, in whatever order they come."""

from __future__ import annotations

import random
from typing import Literal

import pytest

from hub.tasks import state
from hub.tasks.record import digest
from schemas.errors import SkillFailed
from schemas.task import Report, Retry, TaskSpec


@pytest.mark.parametrize("last", ["completed", "failed", "stopped"])
def test_an_attempt_knows_its_box_by_any_report(last: Literal["completed", "failed", "stopped"]) -> None:
    """The first one, that it has started, may come too late to be applied."""
    spec = TaskSpec(id="t1", box="worker", skill="work", retry=Retry(max_attempts=2))
    task = state.submit(spec, tenant="default", submitter="me", digest=digest(spec), now=1.0)
    task = state.assign(task, runner="r1", instance="i", box="", lease_s=15.0, now=1.0)
    error = SkillFailed("no").to_info() if last == "failed" else None
    report = Report(task="t1", attempt=1, sequence=2, kind=last, box="worker-1", error=error, at=2.0)
    task = state.apply_report(task, report, sender="r1", now=2.0, random=random.Random(1).random)
    assert task.attempts[0].box == "worker-1"
