"""Random interleavings of duplicate, reordered, stale and forged reports, lost leases, cancels and timeouts."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub.tasks import state
from hub.tasks.deadlines import due_at, overdue
from hub.tasks.record import NEVER, StoredTask, digest
from schemas.errors import Conflict, Overloaded, SkillFailed, StaleAttempt, TerminalState
from schemas.task import Report, Retry, TaskSpec, Timeouts

LEASE_S = 15.0
KINDS = ("started", "progress", "log", "artifact", "completed", "failed", "stopped")


class TaskMachine(RuleBasedStateMachine):
    """One task, driven by everything that can happen to it, in any order."""

    @initialize(
        attempts=st.integers(1, 5),
        timeouts=st.builds(
            Timeouts,
            queue_s=st.none() | st.floats(1, 100),
            start_s=st.none() | st.floats(1, 60),
            attempt_s=st.none() | st.floats(1, 60),
            total_s=st.none() | st.floats(1, 300),
        ),
    )
    def submit(self, attempts: int, timeouts: Timeouts) -> None:
        self.now = 1_000_000.0
        self.random = random.Random(1).random
        spec = TaskSpec(id="t1", box="worker", skill="work", retry=Retry(max_attempts=attempts), timeouts=timeouts)
        self.task = state.submit(spec, tenant="default", submitter="me", digest=digest(spec), now=self.now)
        self.issued: list[tuple[int, str]] = []  # (fencing number, runner)
        self.sent: list[tuple[Report, str]] = []
        self.sequence: dict[int, int] = {}
        self.log = list(self.task.tail)
        self.finals: set[int] = set()  # attempts that a final report ended

    def change(self, after: StoredTask) -> None:
        before, self.task = self.task, after
        fresh = [u for u in after.tail if u.number > before.updates]
        assert [u.number for u in fresh] == list(range(before.updates + 1, after.updates + 1))
        self.log += fresh

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(back=st.floats(0, 3))
    def another_hub_whose_clock_is_behind_takes_over(self, back: float) -> None:
        self.now -= back

    @precondition(lambda self: self.task.phase == "queued" and self.task.cancel is None)
    @rule(runner=st.sampled_from(["r1", "r2"]))
    def assign(self, runner: str) -> None:
        self.change(state.assign(self.task, runner=runner, instance="i", box="", lease_s=LEASE_S, now=self.now))
        number = self.task.attempts[-1].number
        assert number == len(self.issued) + 1, "fencing numbers have no holes and are given once"
        self.issued.append((number, runner))

    @precondition(lambda self: self.task.live_attempt is not None)
    @rule()
    def a_second_live_attempt_is_refused(self) -> None:
        try:
            state.assign(self.task, runner="r2", instance="", box="", lease_s=LEASE_S, now=self.now)
        except Conflict:
            return
        raise AssertionError("two live attempts")

    @precondition(lambda self: self.issued)
    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def runner_reports(self, data: st.DataObject, kind: str) -> None:
        """Any attempt ever issued may still talk: a paused worker does."""
        number, runner = data.draw(st.sampled_from(self.issued))
        self.sequence[number] = sequence = self.sequence.get(number, 0) + 1
        report = Report(
            task="t1", attempt=number, sequence=sequence, kind=kind, at=self.now - 1,
            data={"id": "art-1"} if kind == "artifact" else {"n": sequence},
            error=SkillFailed("no").to_info() if kind == "failed" else None,
        )  # fmt: skip
        self.sent.append((report, runner))
        if data.draw(st.booleans()):  # else it is delivered later, out of order
            self.deliver(report, runner)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), forged=st.booleans())
    def deliver_any(self, data: st.DataObject, forged: bool) -> None:
        report, runner = data.draw(st.sampled_from(self.sent))
        self.deliver(report, "intruder" if forged else runner)

    def deliver(self, report: Report, sender: str) -> None:
        before = self.task
        live = before.live_attempt
        try:
            after = state.apply_report(before, report, sender=sender, now=self.now, random=self.random)
        except TerminalState:
            assert before.terminal
            return
        except StaleAttempt:
            assert live is None or live.number != report.attempt or live.runner != sender
            return
        assert live is not None
        assert (live.number, live.runner) == (report.attempt, sender)
        again = state.apply_report(before, report, sender=sender, now=self.now, random=self.random)
        assert again.updates == after.updates, "pure"
        if after.live_attempt is not None:
            twice = state.apply_report(after, report, sender=sender, now=self.now, random=self.random)
            assert twice is after, "a duplicate changes nothing"
        if report.kind in ("completed", "failed", "stopped") and after is not before:
            assert report.attempt not in self.finals, "an attempt ends once"
            self.finals.add(report.attempt)
        self.change(after)

    @precondition(lambda self: self.task.live_attempt is not None)
    @rule(final=st.booleans())
    def runner_refuses(self, final: bool) -> None:
        attempt = self.task.live_attempt
        assert attempt is not None
        if attempt.state != "assigned":
            return
        self.change(
            state.refuse(
                self.task, attempt.number, Overloaded("full").to_info(),
                retry_at=None if final else self.now + 1, now=self.now,
            )
        )  # fmt: skip

    @precondition(lambda self: self.issued)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        number, runner = data.draw(st.sampled_from(self.issued))
        live = self.task.live_attempt
        try:
            after = state.renew(self.task, number, runner=runner, instance="i", lease_s=LEASE_S, now=self.now)
        except (StaleAttempt, TerminalState):
            assert live is None or live.number != number
            return
        assert live is not None
        assert live.number == number
        assert after.attempts[-1].lease_expires_at >= self.now + LEASE_S * 2 / 3
        assert after.attempts[-1].lease_expires_at >= live.lease_expires_at
        self.change(after)

    @precondition(lambda self: self.issued)
    @rule(data=st.data(), proof=st.sampled_from(["", "runner_gone", "runner_denies"]))
    def lease_runs_out(self, data: st.DataObject, proof: str) -> None:
        number, _ = data.draw(st.sampled_from(self.issued))
        before = self.task
        try:
            after = state.lose(before, number, proof=proof, now=self.now, random=self.random)  # type: ignore[arg-type]
        except (StaleAttempt, TerminalState):
            return
        if before.cancel is not None and not proof:
            assert after is before, "without a proof a cancelled task is not said to have stopped"
        else:
            assert after.live_attempt is None
        self.change(after)

    @rule()
    def timers_fire(self) -> None:
        self.change(state.expire(self.task, self.now))
        assert overdue(self.task, self.now) is None, "acted on once"

    @rule()
    def cancel(self) -> None:
        before = self.task
        try:
            after = state.request_cancel(before, by="me", reason="enough", now=self.now)
        except TerminalState:
            assert before.terminal
            assert before.state != "canceled"
            return
        assert (after.state == "canceled") == (before.live_attempt is None or before.state == "canceled")
        assert state.request_cancel(after, by="other", reason="", now=self.now) is after
        self.change(after)

    @precondition(lambda self: self.task.live_attempt is not None)
    @rule()
    def runner_acknowledges(self) -> None:
        self.change(state.acknowledge_cancel(self.task, self.task.attempts[-1].number, self.now))

    @rule()
    def it_survives_the_store(self) -> None:
        document = self.task.to_document(due_at(self.task))
        assert StoredTask.model_validate(document) == self.task

    @invariant()
    def one_live_attempt_and_it_is_the_newest(self) -> None:
        live = [a for a in self.task.attempts if a.live]
        assert len(live) <= 1
        assert not live or live[0] is self.task.attempts[-1]
        assert not (live and self.task.terminal)

    @invariant()
    def updates_have_no_holes(self) -> None:
        assert [u.number for u in self.log] == list(range(1, self.task.updates + 1))
        assert [u.at for u in self.log] == sorted(u.at for u in self.log)

    @invariant()
    def attempts_stay_in_the_budget(self) -> None:
        numbers = [a.number for a in self.task.attempts]
        assert numbers == sorted(set(numbers))
        tried = [a for a in self.task.attempts if a.state != "refused"]
        assert len(tried) <= self.task.spec.retry.max_attempts

    @invariant()
    def terminal_is_for_ever(self) -> None:
        ended = [u for u in self.log if u.state in ("completed", "failed", "canceled", "rejected")]
        assert len(ended) <= 1
        assert not ended or (ended[0] is self.log[-1] and ended[0].state == self.task.state)
        assert bool(ended) == self.task.terminal

    @invariant()
    def cancel_stamps_are_ordered(self) -> None:
        cancel = self.task.cancel
        if cancel is None:
            assert self.task.state != "canceled"
            return
        stamps = [s for s in (cancel.requested_at, cancel.acknowledged_at, cancel.stopped_at) if s is not None]
        assert stamps == sorted(stamps)
        assert (cancel.stopped_at is not None) == (self.task.state == "canceled") == bool(cancel.proof)
        assert cancel.proof != "stopped" or cancel.acknowledged_at is not None, "who stopped it has answered"

    @invariant()
    def something_will_happen(self) -> None:
        """A task that is not over has a place in the queue or a deadline: no state is a dead end."""
        if self.task.phase == "held":
            assert due_at(self.task) <= self.task.attempts[-1].lease_expires_at < NEVER
        if self.task.phase == "done" and not self.task.cascade:
            assert due_at(self.task) == NEVER


TestTaskMachine = TaskMachine.TestCase
TestTaskMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_runner_that_stopped_has_answered_even_if_its_answer_is_stored_later() -> None:
    """The report of the end and the answer to the broadcast travel on two ways; either may come first."""
    spec, now, tick = TaskSpec(id="t1", box="worker", skill="work"), 1_000_000.0, random.Random(1).random
    task = state.submit(spec, tenant="default", submitter="me", digest=digest(spec), now=now)
    task = state.assign(task, runner="r1", instance="i", box="", lease_s=LEASE_S, now=now)
    task = state.request_cancel(task, by="me", reason="enough", now=now + 1)
    report = Report(task="t1", attempt=1, sequence=1, kind="stopped", at=now + 2)
    task = state.apply_report(task, report, sender="r1", now=now + 2, random=tick)
    assert task.cancel is not None
    assert (task.state, task.cancel.proof) == ("canceled", "stopped")
    assert (task.cancel.acknowledged_at, task.cancel.stopped_at) == (now + 2, now + 2)
