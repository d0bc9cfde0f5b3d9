"""The planner: imports the project, finds what fails and where, asks for a repair, commits the first that holds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from box_agent.agent import Agent
from box_agent.bus.received import Message
from box_agent.live import register
from examples.repair import problem
from examples.repair.boxes import PytestRunner
from examples.repair.problem import Problem
from examples.repair.pytest_run import TestReport
from examples.repair.run import (
    FINISHED,
    REQUESTED,
    REVIEWER,
    Finished,
    Found,
    Requested,
    Review,
    ReviewRequest,
    Tried,
)
from examples.repair.suspicious import Spectrum, rank
from schemas.branch import CommitResult
from schemas.conversation import Turn
from schemas.errors import DeadlineExceeded
from schemas.ids import new_id
from schemas.part import Part
from schemas.task import FailureRule, Retry, Timeouts

_RANKED = 400  # lines the coders are told of
_MESSAGE = 600  # characters kept of one failure


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planner found out before anybody tries anything."""

    run: str
    workspace: str
    root: str
    conversation: str
    spectrum: Spectrum


@dataclass(frozen=True, slots=True)
class Repair:
    """The committed repair."""

    tried: Tried
    diff: str
    commit: CommitResult
    review: Review
    seconds: float


class Planner:
    def __init__(self, agent: Agent, coders: list[str]) -> None:
        self.agent = agent
        self._coders = coders
        self._green: asyncio.Queue[Found] = asyncio.Queue(1000)
        self._reviews: asyncio.Queue[Review] = asyncio.Queue(1000)

    async def subscribe(self) -> None:
        await self.agent.on_message(self._on_message)

    async def survey(self, directory: Path, timeout_s: float) -> Plan:
        """Imports ``directory`` and runs its tests under coverage. Raises `Problem` when there is nothing to repair."""
        workspace = await self.agent.workspaces.import_directory(directory, name=_name_of(directory))
        await register(self.agent, PytestRunner)
        conversation = await self.agent.conversations.create(title=f"repair of {directory.name}")
        task = await self.agent.delegate(
            PytestRunner.name,
            "collect",
            {"timeout_s": timeout_s},
            branch=workspace.root,
            conversation=conversation.id,
            timeouts=Timeouts(attempt_s=timeout_s + 30),
            retry=Retry(max_attempts=5),
            on_failure=[FailureRule(match=["deadline_exceeded", "skill_failed"], action="fail")],
        )
        try:
            spectrum = Spectrum.from_json(await task.result())
        except DeadlineExceeded as error:
            raise _hangs(timeout_s) from error
        _check(spectrum, directory, timeout_s)
        run = new_id("run")
        plan = Plan(run, workspace.id, workspace.root, conversation.id, spectrum)
        await self._say(
            plan, f"{len(spectrum.failing)} of {len(spectrum.tests)} tests fail: {', '.join(spectrum.failing)}"
        )
        return plan

    async def repair(self, plan: Plan, *, budget: int, parallel: int, test_timeout_s: float) -> Repair | None:
        """Asks the coders and waits for the first repair, or until all of them have nothing left to try."""
        started = time.monotonic()
        ranking = [(line.path, line.line, line.score) for line in rank(plan.spectrum)[:_RANKED]]
        request = Requested(
            run=plan.run, root=plan.root, conversation=plan.conversation, ranking=ranking,
            sources=plan.spectrum.sources, failing=plan.spectrum.failing,
            passing=[test.id for test in plan.spectrum.tests if test.outcome == "passed"],
            failures={test: text[:_MESSAGE] for test, text in plan.spectrum.failures.items()},
            budget=budget, parallel=parallel, test_timeout_s=test_timeout_s, coders=self._coders,
        )  # fmt: skip
        await self.agent.publish_event(REQUESTED, request.wire(), id=f"{plan.run}-requested")
        winner = await self._first_green(plan.run)
        if winner is None:
            await self._finish(plan, "")
            await self._say(plan, "nobody found a repair")
            return None
        diff = "".join(row.get("text") or "" for row in await self.agent.workspaces.diff_text(winner.branch))
        commit = await self.agent.workspaces.commit(winner.branch)
        await self._finish(plan, winner.branch)
        await self._say(plan, f"committed {winner.branch}: {winner.path}:{winner.line} {winner.change}")
        review = await self._review(plan, winner, diff)
        return Repair(winner, diff, commit, review, time.monotonic() - started)

    async def confirm(self, plan: Plan, timeout_s: float) -> bool:
        """Runs the whole suite once more, on what the root branch is now."""
        task = await self.agent.delegate(
            PytestRunner.name,
            "run_tests",
            {"first": [], "timeout_s": timeout_s},
            branch=plan.root,
            conversation=plan.conversation,
            timeouts=Timeouts(attempt_s=timeout_s),
            retry=Retry(max_attempts=5),
        )
        return TestReport.from_json(await task.result()).green

    async def _first_green(self, run: str) -> Tried | None:
        exhausted: set[str] = set()
        while len(exhausted) < len(self._coders):
            found = await self._green.get()
            if found.run != run:
                continue
            if found.tried is not None:
                return found.tried
            exhausted.add(found.coder)
        return None

    async def _finish(self, plan: Plan, branch: str) -> None:
        await self.agent.publish_event(
            FINISHED, Finished(run=plan.run, branch=branch).wire(), id=f"{plan.run}-finished"
        )

    async def _review(self, plan: Plan, winner: Tried, diff: str) -> Review:
        request = ReviewRequest(
            run=plan.run, conversation=plan.conversation, branch=winner.branch, diff=diff, failing=plan.spectrum.failing
        )
        await self.agent.send_message(REVIEWER, request.wire(), id=f"{plan.run}-review-request")
        async with asyncio.timeout(60):
            while (review := await self._reviews.get()).run != plan.run:
                pass
        return review

    async def _on_message(self, message: Message) -> None:
        if message.sender == REVIEWER:
            await self._reviews.put(Review.model_validate(message.data))
        else:
            await self._green.put(Found.model_validate(message.data))

    async def _say(self, plan: Plan, text: str) -> None:
        turn = Turn(role="assistant", author=self.agent.address, parts=[Part(text=text)], pinned=True)
        await self.agent.conversations.append(plan.conversation, [turn])


def _check(spectrum: Spectrum, directory: Path, timeout_s: float) -> None:
    if spectrum.timed_out:
        raise _hangs(timeout_s)
    if spectrum.errors:
        first = next(iter(spectrum.errors.items()))
        raise Problem(
            problem.BROKEN, f"{first[0]} cannot be collected ({_last_line(first[1])}); make the suite importable first"
        )
    if not spectrum.tests:
        raise Problem(problem.NO_TESTS, f"{directory}: pytest finds no tests; name test files test_*.py")
    if not spectrum.failing:
        raise Problem(
            problem.ALREADY_GREEN,
            f"{directory}: all {len(spectrum.tests)} tests pass; add a test that shows the bug",
        )


def _hangs(timeout_s: float) -> Problem:
    return Problem(
        problem.HANGS,
        f"the suite did not end within {timeout_s:g} s; give it more with --suite-timeout, or fix the hang",
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"


def _name_of(directory: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in directory.resolve().name.lower())
    return kept.strip("-_")[:63] or "project"
