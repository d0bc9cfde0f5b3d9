"""The state machine: pure functions from a task and an event to the next task. `docs/state-machines.md` draws it.

Every function returns a new `StoredTask`, or the *same object* when the event changes nothing (a duplicate). The
updates a transition makes are the ones numbered above ``before.updates`` in its ``tail``. Refusals are typed:
`TerminalState` (it has ended, ended things never change) and `StaleAttempt` (an old fencing number, or a sender
that does not hold the lease). Both stay true for ever once they are true, so they may be decided on an old copy.

Times are the hub's clock in seconds; where clocks of two hubs differ, stamps are pushed forward, never back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from pydantic import ValidationError

from hub.tasks import policy
from hub.tasks.deadlines import overdue
from hub.tasks.record import StoredTask
from schemas.errors import (
    AttemptLost,
    Cancelled,
    Conflict,
    ErrorInfo,
    InvalidInput,
    SkillFailed,
    StaleAttempt,
    TerminalState,
)
from schemas.part import Artifact
from schemas.task import Attempt, Cancellation, CancelProof, Report, TaskSpec, TaskState, TaskUpdate

Random = Callable[[], float]
UpdateKind = Literal["state", "progress", "log", "artifact"]

UPDATE_BYTES = 32 * 1024
"""Data above this is left out of an update, since updates travel in the record; artifacts stay whole beside them."""
REFUSED_KEPT = 8
"""Refused attempts that stay in the record; they ran nothing, and a busy runner refuses often."""


def submit(spec: TaskSpec, *, tenant: str, submitter: str, digest: str, now: float) -> StoredTask:
    """The first version of a task; update 1 says so. ``spec.id`` must be set."""
    task = StoredTask(
        id=spec.id, tenant=tenant, spec=spec, digest=digest, submitter=submitter,
        created_at=now, updated_at=now, queued_at=now,
    )  # fmt: skip
    return _step(task, now, ("state", None), state="submitted")


def assign(task: StoredTask, *, runner: str, instance: str, box: str, lease_s: float, now: float) -> StoredTask:
    """The next attempt, with the next fencing number, leased to ``runner``. Raises `Conflict` unless it is queued."""
    _not_ended(task)
    if task.live_attempt is not None:
        raise Conflict(f"task {task.id!r} has a live attempt, number {task.attempts[-1].number}", task=task.id)
    attempt = Attempt(
        number=_last_number(task) + 1, runner=runner, instance=instance, box=box,
        assigned_at=now, lease_expires_at=now + lease_s,
    )  # fmt: skip
    attempts = [*task.attempts, attempt]
    return _step(task, now, attempts=attempts, pending="", seen_upto=0, seen=[])


def refuse(task: StoredTask, number: int, error: ErrorInfo, *, retry_at: float | None, now: float) -> StoredTask:
    """The runner said that it will not start attempt ``number``: nothing ran. ``retry_at=None``: it never will."""
    attempt = _live(task, number)
    if attempt.state != "assigned":
        raise Conflict(f"task {task.id!r}: attempt {number} has started, it cannot be refused", task=task.id)
    attempts = _replace_last(task, attempt, state="refused", ended_at=now, error=error)
    refused = [a.number for a in attempts if a.state == "refused"]
    dropped = set(refused[:-REFUSED_KEPT])
    attempts = [a for a in attempts if a.number not in dropped]
    if task.cancel is not None:
        return _canceled(task, attempts, "not_running", now)
    if attempt.stopping is not None and attempt.stopping.details.get("timeout") == "total":
        return _failed(task, attempts, attempt.stopping, now, "no time left")
    if retry_at is None:
        return _step(
            task, now, ("state", {"reason": f"{attempt.runner} refused it"}),
            state="rejected", attempts=attempts, error=error, pending="",
        )  # fmt: skip
    pending = f"{attempt.runner} refused: {error.message}"
    return _step(task, now, attempts=attempts, not_before=retry_at, pending=pending)


def renew(task: StoredTask, number: int, *, runner: str, instance: str, lease_s: float, now: float) -> StoredTask:
    """The lease runs ``lease_s`` from now. Same object while more than two thirds of it are left."""
    attempt = _live(task, number)
    if attempt.runner != runner or (attempt.instance and instance and attempt.instance != instance):
        raise StaleAttempt(
            f"task {task.id!r}: attempt {number} belongs to {attempt.runner!r} {attempt.instance!r}, "
            f"not to {runner!r} {instance!r}",
            task=task.id, attempt=number,
        )  # fmt: skip
    if attempt.lease_expires_at - now > lease_s * 2 / 3:
        return task
    until = max(attempt.lease_expires_at, now + lease_s)
    fresh = instance or attempt.instance
    return _step(task, now, attempts=_replace_last(task, attempt, lease_expires_at=until, instance=fresh))


def apply_report(task: StoredTask, report: Report, *, sender: str, now: float, random: Random) -> StoredTask:
    """What the runner says, applied once per (attempt, sequence) and in any order."""
    attempt = _live(task, report.attempt)
    if sender != attempt.runner:
        raise StaleAttempt(
            f"task {task.id!r}: attempt {attempt.number} is run by {attempt.runner!r}, not by {sender!r}",
            task=task.id, attempt=report.attempt,
        )  # fmt: skip
    if report.sequence <= task.seen_upto or report.sequence in task.seen:
        return task
    task = _mark_seen(task, report.sequence)
    match report.kind:
        case "started":
            return _started(task, attempt, report, now)
        case "progress" | "log":
            return _step(task, now, (report.kind, _bounded(report.data)))
        case "artifact":
            return _artifact(task, report, now)
        case "completed":
            return _completed(task, attempt, report, now)
        case "failed":
            error = report.error or SkillFailed("the runner gave no reason").to_info()
            return _ended(task, _in_box(attempt, report), "ended", error, "stopped", now, random)
        case "stopped":
            ours = AttemptLost(f"{sender} stopped it").to_info()
            theirs = report.error  # a bare "cancelled" says nothing: we did not ask for it, or know why
            error = ours if theirs is None or theirs.code == Cancelled.code else theirs
            return _ended(task, _in_box(attempt, report), "ended", error, "stopped", now, random)


def missing_before(task: StoredTask, report: Report) -> bool:
    """Something said before ``report`` is not applied yet. The first report may miss: it only says that it started."""
    return any(n not in task.seen for n in range(max(2, task.seen_upto + 1), report.sequence))


def lose(
    task: StoredTask, number: int, *, proof: Literal["", "runner_gone", "runner_denies"], now: float, random: Random
) -> StoredTask:
    """The lease of attempt ``number`` ran out. Whoever calls has judged that, by its own clock.

    A cancelled task ends only with a ``proof`` that nothing runs any more; without one it stays as it is.
    """
    attempt = _live(task, number)
    if task.cancel is not None and not proof:
        return task
    said = {"": "does not renew it", "runner_gone": "is gone", "runner_denies": "does not have it"}[proof]
    error = AttemptLost(
        f"task {task.id!r}: the lease of attempt {number} ran out, {attempt.runner} {said}",
        runner=attempt.runner, instance=attempt.instance,
    ).to_info()  # fmt: skip
    return _ended(task, attempt, "lost", error, proof or "runner_gone", now, random)


def expire(task: StoredTask, now: float) -> StoredTask:
    """Acts on a timeout that has passed: a queued task fails, a live attempt is marked to be ended by its runner."""
    error = overdue(task, now)
    if error is None:
        return task
    attempt = task.live_attempt
    if attempt is None:
        if task.attempts and task.attempts[-1].error is not None:
            details = {**error.details, "last_error": task.attempts[-1].error.model_dump(mode="json")}
            error = error.model_copy(update={"details": details})
        return _failed(task, task.attempts, error, now, error.message)
    attempts = _replace_last(task, attempt, stopping=error)
    return _step(task, now, ("log", {"stopping": error.message}), attempts=attempts)


def request_cancel(task: StoredTask, *, by: str, reason: str, now: float) -> StoredTask:
    """The intent, recorded before anybody is told. Where no attempt is live it is done with that."""
    if task.terminal:
        if task.state == "canceled":
            return task
        raise TerminalState(f"task {task.id!r} is {task.state}; it cannot be cancelled", task=task.id)
    if task.cancel is not None:
        return task
    intent = Cancellation(requested_at=now, by=by, reason=reason)
    if task.live_attempt is None:
        asked = task.model_copy(update={"cancel": intent, "cascade": True})
        return _canceled(asked, task.attempts, "not_running", now)
    return _step(task, now, ("state", {"cancel": "requested", "by": by, "reason": reason}), cancel=intent, cascade=True)


def acknowledge_cancel(task: StoredTask, number: int, now: float) -> StoredTask:
    """The runner of attempt ``number`` said that it is stopping it."""
    _live(task, number)
    if task.cancel is None or task.cancel.acknowledged_at is not None:
        return task
    at = max(now, task.cancel.requested_at)
    cancel = task.cancel.model_copy(update={"acknowledged_at": at})
    return _step(task, now, ("state", {"cancel": "acknowledged"}), cancel=cancel)


def cascaded(task: StoredTask) -> StoredTask:
    """All children have been told of the cancel."""
    return task.model_copy(update={"cascade": False}) if task.cascade else task


def wait(task: StoredTask, reason: str) -> StoredTask:
    """Why it does not run yet."""
    if task.phase != "queued" or task.pending == reason:
        return task
    return task.model_copy(update={"pending": reason})


# --- what the transitions above are made of ---------------------------------------------------------------------


def _started(task: StoredTask, attempt: Attempt, report: Report, now: float) -> StoredTask:
    at = _between(attempt.assigned_at, report.at, now)
    attempts = _replace_last(task, attempt, state="running", started_at=at, box=_in_box(attempt, report).box)
    data = {"runner": attempt.runner} | ({"box": report.box} if report.box else {})
    return _step(task, now, ("state", data), state="working", attempts=attempts)


def _in_box(attempt: Attempt, report: Report) -> Attempt:
    """The attempt with the box that the report names: the one that said "started" may never come, or come too late."""
    return attempt.model_copy(update={"box": report.box}) if report.box else attempt


def _artifact(task: StoredTask, report: Report, now: float) -> StoredTask:
    try:
        artifact = Artifact.model_validate(report.data)
    except ValidationError as error:
        raise InvalidInput(f"task {task.id!r}: not an artifact: {error}", task=task.id) from error
    artifacts = [a for a in task.artifacts if a.id != artifact.id] + [artifact]
    told = artifact.wire()
    if (size := _size(told)) > UPDATE_BYTES:
        told = artifact.model_copy(update={"parts": [], "metadata": {"left_out_bytes": size}}).wire()
    return _step(task, now, ("artifact", told), artifacts=artifacts)


def _completed(task: StoredTask, attempt: Attempt, report: Report, now: float) -> StoredTask:
    if attempt.started_at is None:  # its first report comes later than its last, or shares the batch of another hub
        task = _started(task, attempt, report, now)
        attempt = task.attempts[-1]
    attempts = _replace_last(task, attempt, state="ended", ended_at=now, box=_in_box(attempt, report).box)
    return _step(
        task, now, ("state", None), state="completed", attempts=attempts, result=report.data, pending="", error=None
    )


def _ended(
    task: StoredTask,
    attempt: Attempt,
    how: Literal["ended", "lost"],
    error: ErrorInfo,
    proof: CancelProof,
    now: float,
    random: Random,
) -> StoredTask:
    """An attempt is over without a result: cancelled, tried again, or failed."""
    if attempt.stopping is not None:
        error = attempt.stopping  # that it ended this way was our doing
    attempts = _replace_last(task, attempt, state=how, ended_at=now, error=error)
    if task.cancel is not None:
        return _canceled(task, attempts, proof, now)
    verdict = policy.decide(
        task.spec, attempts, error, created_at=task.created_at, now=now, random=random
    )  # fmt: skip
    if verdict.retry_at is None:
        return _failed(task, attempts, error, now, verdict.reason)
    data = {"reason": verdict.reason, "error": error.model_dump(mode="json"), "retry_at": verdict.retry_at}
    return _step(
        task, now, ("state", data), state="submitted", attempts=attempts, pending=verdict.reason,
        not_before=verdict.retry_at, queued_at=verdict.retry_at,
    )  # fmt: skip


def _canceled(task: StoredTask, attempts: list[Attempt], proof: CancelProof, now: float) -> StoredTask:
    assert task.cancel is not None
    at = max(now, task.cancel.requested_at, task.cancel.acknowledged_at or 0.0)
    # A runner's report of the end may be stored before its answer to the broadcast: it says that one, too.
    acknowledged = at if proof == "stopped" and task.cancel.acknowledged_at is None else task.cancel.acknowledged_at
    cancel = task.cancel.model_copy(update={"acknowledged_at": acknowledged, "stopped_at": at, "proof": proof})
    data = {"by": cancel.by, "reason": cancel.reason, "proof": proof}
    return _step(task, now, ("state", data), state="canceled", attempts=attempts, cancel=cancel, pending="")


def _failed(task: StoredTask, attempts: list[Attempt], error: ErrorInfo, now: float, reason: str) -> StoredTask:
    data = {"reason": reason, "error": error.model_dump(mode="json")}
    return _step(task, now, ("state", data), state="failed", attempts=attempts, error=error, pending="")


def _step(
    task: StoredTask,
    now: float,
    *happened: tuple[UpdateKind, Any],
    state: TaskState | None = None,
    attempts: list[Attempt] | None = None,
    **fields: Any,
) -> StoredTask:
    """``task`` with these fields changed and these updates numbered and added."""
    state = state or task.state
    attempts = task.attempts if attempts is None else attempts
    current = attempts[-1].number if attempts else 0
    at = max(now, task.updated_at)
    fresh = [
        TaskUpdate(
            task=task.id, number=task.updates + i, at=at, kind=kind, attempt=current,
            state=state if kind == "state" else None, data=data,
        )
        for i, (kind, data) in enumerate(happened, start=1)
    ]  # fmt: skip
    fields |= {"state": state, "attempts": attempts, "updated_at": at}
    fields |= {"updates": task.updates + len(fresh), "tail": [*task.tail, *fresh]} if fresh else {}
    return task.model_copy(update=fields)


def _mark_seen(task: StoredTask, sequence: int) -> StoredTask:
    upto, beyond = task.seen_upto, {*task.seen, sequence}
    while upto + 1 in beyond:
        upto += 1
        beyond.discard(upto)
    return task.model_copy(update={"seen_upto": upto, "seen": sorted(beyond)})


def _bounded(data: Any) -> Any:
    size = _size(data)
    return data if size <= UPDATE_BYTES else {"left_out_bytes": size}


def _size(data: Any) -> int:
    return len(msgspec.json.encode(data))


def _not_ended(task: StoredTask) -> None:
    if task.terminal:
        raise TerminalState(f"task {task.id!r} is {task.state}; ended tasks never change", task=task.id)


def _live(task: StoredTask, number: int) -> Attempt:
    """The live attempt, if ``number`` is its fencing number."""
    _not_ended(task)
    attempt = task.live_attempt
    if attempt is None or attempt.number != number:
        raise StaleAttempt(
            f"task {task.id!r}: attempt {number} is not the live one"
            f" ({'none is' if attempt is None else attempt.number})",
            task=task.id, attempt=number,
        )  # fmt: skip
    return attempt


def _last_number(task: StoredTask) -> int:
    return task.attempts[-1].number if task.attempts else 0


def _replace_last(task: StoredTask, attempt: Attempt, **fields: Any) -> list[Attempt]:
    return [*task.attempts[:-1], attempt.model_copy(update=fields)]


def _between(low: float, value: float, high: float) -> float:
    """A stamp of another machine's clock, held inside what ours knows to be true."""
    return min(max(low, value), max(low, high))
