"""One candidate tried: a branch with the edit, a task that runs the tests in a fresh Box on it, the outcome told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal

from box_agent.agent import Agent
from examples.repair.pytest_run import TestReport
from examples.repair.run import PLANNER, TRIED, Found, Requested, Tried
from schemas.conversation import Turn
from schemas.errors import BoxhubError, Cancelled, DeadlineExceeded
from schemas.part import Part
from schemas.task import FailureRule, Retry, Timeouts

Outcome = Literal["green", "failed", "error", "timeout", "cancelled"]


@dataclass(frozen=True, slots=True)
class Edit:
    """A candidate: the whole new text of one file, and what it is in words."""

    path: str
    line: int
    change: str
    new_source: str


@dataclass(slots=True)
class Trials:
    """The tries of one coder in one run. ``stop`` cancels what is running and discards its branches."""

    agent: Agent
    request: Requested
    _tasks: dict[str, str] = field(default_factory=dict)  # task id → branch id, while it runs
    stopped: bool = False

    async def attempt(self, number: int, edit: Edit) -> Tried:
        """Tries ``edit``; a branch that is not green is discarded before this returns."""
        name = f"{self.agent.address}-{number:04d}"
        task_id = f"{self.request.run}-{name}"
        started = time.monotonic()
        about = {"path": edit.path, "line": edit.line, "change": edit.change}
        (branch,) = await self.agent.workspaces.fork(
            self.request.root,
            names=[name],
            ids=[f"branch-{task_id}"],  # a request that is handled again, after a kill, goes on where it was
            files={edit.path: edit.new_source},
            group=self.request.run,
            metadata=about,
        )
        self._tasks[task_id] = branch.id
        outcome, report = await self._run_tests(task_id, branch.id)
        del self._tasks[task_id]
        tried = Tried(
            run=self.request.run, coder=self.agent.address, number=number, branch=branch.id, task=task_id,
            path=edit.path, line=edit.line, change=edit.change, outcome=outcome,
            passed=report.passed if report else 0, failed=report.failed if report else 0,
            seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
        await self._tell(tried)
        return tried

    async def stop(self) -> None:
        """Cancels every task that still runs; their `attempt` calls end by themselves with ``cancelled``."""
        self.stopped = True
        async with asyncio.TaskGroup() as group:
            for task_id in list(self._tasks):
                group.create_task(self._cancel(task_id))

    async def _run_tests(self, task_id: str, branch: str) -> tuple[Outcome, TestReport | None]:
        limit = self.request.test_timeout_s
        handle = await self.agent.delegate(
            "pytest-runner",
            "run_tests",
            {"first": self.request.failing, "timeout_s": limit},
            id=task_id,
            branch=branch,
            conversation=self.request.conversation,
            timeouts=Timeouts(attempt_s=limit),
            retry=Retry(max_attempts=5),
            on_failure=[
                FailureRule(match=["deadline_exceeded", "skill_failed"], action="fail"),  # the candidate's own fault
                FailureRule(match=["*"], action="retry"),  # a node or a box that was killed: try again
            ],
        )
        if self.stopped:  # the end of the run overtook the submission
            await self._cancel(task_id)
        try:
            report = TestReport.from_json(await handle.result())
        except DeadlineExceeded:
            return "timeout", None
        except Cancelled:
            return "cancelled", None
        except BoxhubError:
            return "error", None
        return ("green" if self._repairs(report) else "failed"), report

    def _repairs(self, report: TestReport) -> bool:
        """Green is not enough: a candidate may make pytest skip, or no longer find, what failed."""
        passed = {test.id for test in report.tests if test.outcome == "passed"}
        return report.green and passed.issuperset(self.request.failing) and passed.issuperset(self.request.passing)

    async def _tell(self, tried: Tried) -> None:
        if tried.outcome != "cancelled":
            said = f"{tried.path}:{tried.line} {tried.change} → {tried.outcome}"
            turn = Turn(
                id=f"{tried.task}-tried",
                role="assistant",
                author=tried.coder,
                parts=[Part(text=said)],
                metadata={"branch": tried.branch},
            )
            await self.agent.conversations.append(self.request.conversation, [turn])
        await self.agent.publish_event(TRIED, tried.wire(), id=f"{tried.task}-tried")
        if tried.outcome == "green":
            found = Found(run=tried.run, coder=tried.coder, tried=tried)
            await self.agent.send_message(PLANNER, found.wire(), id=f"{tried.task}-green")
        else:
            await self.agent.workspaces.discard(tried.branch)

    async def _cancel(self, task_id: str) -> None:
        await self.agent.tasks.cancel(task_id, reason="the run has ended")
