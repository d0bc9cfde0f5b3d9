"""Runs attempts of tasks under leases, for attached agents and for nodes alike.

The hub assigns through ``_attempt_start`` and cancels through ``_attempt_cancel``. What happens to an attempt is
reported durably and in order; ``stopped`` is said only after ``execute`` has really ended. A runner that is told it
lost an attempt ends it; until told, it runs on, and its reports are fenced by the attempt's number.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from box_agent.bus.execution import complete, skill_error
from box_agent.bus.scope import Scope
from box_agent.bus.skills import CallInfo, Cancellation
from schemas import envelope as envelopes
from schemas import subjects
from schemas.errors import (
    AttemptLost,
    BoxhubError,
    BusUnavailable,
    DeadlineExceeded,
    ErrorInfo,
    InvalidInput,
    Overloaded,
    SkillNotFound,
    StaleAttempt,
)
from schemas.model import timestamp
from schemas.subjects import HUB
from schemas.task import Assignment, Report

if TYPE_CHECKING:
    from box_agent.agent import Agent

_WAITING_REPORTS = 256
_PAUSE_S = 0.5
_HELD_PER_PLACE = 4
"""Attempts whose last report is on its way, for each that may be worked at; more means that the bus does not store."""
_RENEW_TRY_S = 4.0


class Attempt:
    """One attempt in hand; what ``execute`` gets besides the assignment."""

    def __init__(self, assignment: Assignment, publish: Callable[[Report], Awaitable[None]]) -> None:
        self.assignment = assignment
        self.cancellation = Cancellation()
        self.box = ""
        """The live box it runs in, or that is being made for it; goes into every report."""
        self.task: asyncio.Task[None] | None = None
        self.why: BoxhubError | None = None
        """Why it is being ended: nothing when the hub cancelled it."""
        self.lost = False
        self.working = True
        """The work has not ended; what may remain afterwards is to store the reports."""
        self.predecessors: set[asyncio.Task[None]] = set()
        """Attempts of the same task that must have ended before this one starts."""
        self.dropped = 0
        self._publish = publish
        self._sequence = 0
        self._waiting: deque[Report] = deque()
        self._arrived = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def key(self) -> tuple[str, int]:
        return self.assignment.task, self.assignment.attempt

    def started(self) -> None:
        """Say that the skill begins to run, in `box` if that is set; until then the attempt's start timeout counts."""
        self.report("started")

    def report(self, kind: Any, data: Any = None, error: ErrorInfo | None = None) -> None:
        """Queue a report; it is stored in order. ``progress`` and ``log`` are dropped when too many wait."""
        if kind in ("progress", "log") and len(self._waiting) >= _WAITING_REPORTS:
            self.dropped += 1
            return
        self._sequence += 1
        self._waiting.append(
            Report(
                task=self.assignment.task,
                attempt=self.assignment.attempt,
                sequence=self._sequence,
                kind=kind,
                box=self.box,
                data=data,
                error=error,
                at=timestamp(),
            )
        )
        self._arrived.set()

    async def send_reports(self) -> None:
        """Until cancelled."""
        while True:
            await self.drain()
            self._arrived.clear()
            await self._arrived.wait()

    async def drain(self) -> None:
        """Store everything that waits, however long the bus is away; nothing more once the attempt is lost."""
        async with self._sending:  # one at a time, or the second would drop what it has not sent
            while self._waiting and not self.lost:
                await self._publish(self._waiting[0])
                self._waiting.popleft()


Execute = Callable[[Assignment, Attempt], Awaitable[Any]]
"""Does the work and returns its JSON-able result, or raises; says `Attempt.started` when the skill begins.

Cancelled, it ends only when the work has ended.
"""

Admit = Callable[[Assignment], None]
"""Raises to refuse an attempt before anything of it has begun: `Overloaded`, `BoxNotFound`, … cost it no retry."""


class Runner:
    """Works at up to ``limit`` attempts for ``agent`` at once and runs each through ``execute``.

    Who hears of an end may fill the place at once: it is free *before* the last report is sent.
    """

    def __init__(self, agent: Agent, execute: Execute, *, limit: int, admit: Admit | None = None) -> None:
        self._agent = agent
        self._execute = execute
        self._admit = admit
        self._limit = limit
        self._held: dict[tuple[str, int], Attempt] = {}
        self._scope = Scope()
        self._lease_s = 15.0
        self._renewing: asyncio.Task[None] | None = None
        agent.serve_own(self._attempt_start)
        agent.serve_own(self._attempt_cancel)

    @property
    def attempts(self) -> int:
        """How many are worked at now."""
        return sum(attempt.working for attempt in self._held.values())

    async def wait_idle(self, timeout_s: float) -> bool:
        """Until nothing runs; false when something still does after ``timeout_s``."""
        tasks = [attempt.task for attempt in self._held.values() if attempt.task is not None]
        if tasks and timeout_s > 0:
            await asyncio.wait(tasks, timeout=timeout_s)
        return not self._held

    async def aclose(self) -> None:
        """End what runs and say so, within ``close_timeout_s``. Harmless twice."""
        for attempt in list(self._held.values()):
            self._end(attempt, AttemptLost(f"the runner {self._agent.address} is closing"))
        tasks = [attempt.task for attempt in self._held.values() if attempt.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._agent.settings.close_timeout_s)
        await self._scope.aclose()

    # --- what the hub calls --------------------------------------------------------------------------------------

    async def _attempt_start(self, assignment: Assignment) -> dict[str, Any]:
        """Take an attempt; the same one twice is taken once. Raises `Overloaded`, and what ``admit`` raises."""
        key = (assignment.task, assignment.attempt)
        if key in self._held:
            return {"accepted": True}
        if self._scope.closing or self.attempts >= self._limit or len(self._held) >= _HELD_PER_PLACE * self._limit:
            raise Overloaded(f"{self._agent.address} runs {self.attempts} of {self._limit} attempts")
        if self._admit is not None:
            self._admit(assignment)
        attempt = Attempt(assignment, self._publish)
        attempt.predecessors = self._end_older(assignment)
        self._held[key] = attempt
        self._lease_s = assignment.lease_s
        attempt.task = self._scope.spawn(self._run(attempt), f"attempt {assignment.task} {assignment.attempt}")
        if self._renewing is None or self._renewing.done():
            self._renewing = self._scope.spawn(self._renew(), "renew leases")
        return {"accepted": True}

    async def _attempt_cancel(self, task: str, attempt: int) -> dict[str, Any]:
        """Begin to end it; the report ``stopped`` follows when it has ended."""
        held = self._held.get((task, attempt))
        if held is not None:
            self._end(held, None)
        return {"known": held is not None}

    # --- one attempt ---------------------------------------------------------------------------------------------

    async def _run(self, attempt: Attempt) -> None:
        reporting = self._scope.spawn(attempt.send_reports(), f"reports {attempt.assignment.task}")
        deadline = self._arm(attempt)
        try:
            if attempt.predecessors:
                await asyncio.wait(attempt.predecessors)
            await self._work(attempt)
        finally:
            if deadline is not None:
                deadline.cancel()
            reporting.cancel()
            await asyncio.wait({reporting})
            del self._held[attempt.key]

    async def _work(self, attempt: Attempt) -> None:
        work = asyncio.ensure_future(self._execute(attempt.assignment, attempt))
        attempt.cancellation.on_request = work.cancel
        if attempt.cancellation.requested:
            work.cancel()
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:  # the runner's scope is closed: nothing can be promised any more
            work.cancel()
            raise
        attempt.working = False
        self._report_end(attempt, work)
        await attempt.drain()

    def _end_older(self, assignment: Assignment) -> set[asyncio.Task[None]]:
        """This process may have been taken for dead and be trusted with the next attempt: never two at once.

        Raises `StaleAttempt` when it is the given one that is old.
        """
        others = [held for (task, _), held in self._held.items() if task == assignment.task]
        for other in others:
            if other.assignment.attempt > assignment.attempt:
                raise StaleAttempt(f"attempt {assignment.attempt} of {assignment.task} comes too late")
            other.lost = True
            self._end(other, AttemptLost(f"attempt {assignment.attempt} of {assignment.task} has begun"))
        return {other.task for other in others if other.task is not None}

    def _report_end(self, attempt: Attempt, work: asyncio.Future[Any]) -> None:
        error = None if work.cancelled() else work.exception()
        if attempt.cancellation.requested and attempt.why is not None:
            attempt.report("failed", error=attempt.why.to_info())
        elif attempt.cancellation.requested:
            attempt.report("stopped")
        elif work.cancelled():
            attempt.report("failed", error=AttemptLost("the work was cancelled from within").to_info())
        elif error is None:
            attempt.report("completed", data=work.result())
        elif isinstance(error, Exception):
            attempt.report("failed", error=skill_error(error, _call_of(attempt, self._agent.address)).to_info())
        else:
            raise error

    def _arm(self, attempt: Attempt) -> asyncio.TimerHandle | None:
        at = attempt.assignment.deadline_at
        if at is None:
            return None
        left = max(0.0, at - time.time())
        late = DeadlineExceeded(
            f"attempt {attempt.assignment.attempt} of {attempt.assignment.task} ran out of its {left:.3g} s",
            timeout="attempt",
            seconds=left,
        )
        return asyncio.get_running_loop().call_later(left, self._end, attempt, late)

    def _end(self, attempt: Attempt, why: BoxhubError | None) -> None:
        if not attempt.cancellation.requested:
            attempt.why = why
            attempt.cancellation.request()

    async def _publish(self, report: Report) -> None:
        """Until it is stored. The hub reads reports also when it was away meanwhile."""
        agent = self._agent
        subject = subjects.report(agent.tenant, agent.address, report.task)
        envelope = envelopes.make(envelopes.REPORT, subjects.source(agent.tenant, agent.address), report.wire())
        message_id = f"{report.task}.{report.attempt}.{report.sequence}"
        while True:
            try:
                body = await agent.refs.encode(envelope)
                await agent.publisher.publish("report", subject, body, message_id)
                return
            except InvalidInput as error:  # what the skill gave cannot be sent at all
                envelope = _unsendable(envelope, report, error)
            except BusUnavailable as error:
                agent.connection.faults.report("report_delayed", task=report.task, error=str(error))
            except BoxhubError as error:
                agent.connection.faults.report("report_refused", task=report.task, error=str(error))
                await asyncio.sleep(_PAUSE_S)

    # --- leases --------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """One call for all attempts, every third of the lease, as long as there are any."""
        agent = self._agent
        while self._held:
            await asyncio.sleep(self._lease_s / 3)
            held = [list(key) for key in self._held]
            if not held:
                return
            try:
                answer = await agent.call(
                    HUB,
                    "_task_renew",
                    runner=agent.address,
                    instance=agent.instance,
                    held=held,
                    timeout_s=min(_RENEW_TRY_S, self._lease_s / 3),
                )
            except BoxhubError as error:  # no hub now; it judges leases leniently after its restart
                agent.connection.faults.report("lease_not_renewed", error=str(error))
                continue
            self._lease_s = float(answer.get("lease_s", self._lease_s))
            for task, number in answer.get("cancel", []):
                if (attempt := self._held.get((task, number))) is not None:
                    self._end(attempt, None)
            for task, number in answer.get("lost", []):
                if (attempt := self._held.get((task, number))) is not None:
                    attempt.lost = True
                    self._end(attempt, AttemptLost(f"attempt {number} of {task} is another runner's now"))


def own_skills(agent: Agent) -> Execute:
    """`Execute` for an attached agent: the task's skill, in this process."""

    async def execute(assignment: Assignment, attempt: Attempt) -> Any:
        spec = assignment.spec
        skill = agent.skills.get(spec.skill)
        if skill is None or spec.skill.startswith("_"):
            names = sorted(name for name in agent.skills if not name.startswith("_"))
            raise SkillNotFound(
                f"{agent.address} has no skill {spec.skill!r}; it has {', '.join(names) or 'none'}", skills=names
            )
        call = _call_of(attempt, agent.address)
        run = skill.prepare([], spec.arguments, call)
        attempt.started()
        return await complete(skill, run, call, agent.threads)

    return execute


def _call_of(attempt: Attempt, address: str) -> CallInfo:
    spec = attempt.assignment.spec
    return CallInfo(
        id=attempt.assignment.task,
        skill=spec.skill,
        address=address,
        caller=HUB,
        branch=spec.branch,
        conversation=spec.conversation,
        task=attempt.assignment.task,
        deadline_at=attempt.assignment.deadline_at,
        cancellation=attempt.cancellation,
        emit=attempt.report,
    )


def _unsendable(envelope: envelopes.Envelope, report: Report, error: InvalidInput) -> envelopes.Envelope:
    """The attempt failed in place of a result that cannot travel; other reports go without their data."""
    if report.kind == "completed":
        changed = report.model_copy(update={"kind": "failed", "data": None, "error": error.to_info()})
    else:
        changed = report.model_copy(update={"data": None})
    return envelopes.make(envelopes.REPORT, envelope.source, changed.wire(), id=envelope.id)
