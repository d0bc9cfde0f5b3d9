"""The timeouts of a task as points in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hub.tasks.record import NEVER, StoredTask
from schemas.errors import DeadlineExceeded, ErrorInfo


def due_at(task: StoredTask) -> float:
    """When time alone next changes something about ``task``: a timeout, the end of a lease, or at once."""
    if task.cascade:
        return 0.0
    if task.terminal:
        return NEVER
    attempt = task.live_attempt
    lease = attempt.lease_expires_at if attempt is not None else NEVER
    return min([lease, *(at for _, at, _ in _running(task))])


def overdue(task: StoredTask, now: float) -> ErrorInfo | None:
    """The timeout that has passed, the earliest of them, or ``None``."""
    passed = [(at, name, limit) for name, at, limit in _running(task) if at <= now]
    if not passed:
        return None
    _, name, limit = min(passed)
    return DeadlineExceeded(f"task {task.id!r}: {name} timeout of {limit:g} s", timeout=name, limit_s=limit).to_info()


def _running(task: StoredTask) -> Iterator[tuple[str, float, float]]:
    """(name, point in time, seconds) of every timeout whose clock runs and that was not acted on yet."""
    if task.terminal:
        return
    limits, attempt = task.spec.timeouts, task.live_attempt
    if attempt is not None and attempt.stopping is not None:
        return  # it is being ended already; what is left is the proof
    if limits.total_s is not None:
        yield "total", task.created_at + limits.total_s, limits.total_s
    if attempt is None:
        if limits.queue_s is not None:
            yield "queue", task.queued_at + limits.queue_s, limits.queue_s
    elif attempt.started_at is None:
        if limits.start_s is not None:
            yield "start", attempt.assigned_at + limits.start_s, limits.start_s
    elif limits.attempt_s is not None:
        yield "attempt", attempt.started_at + limits.attempt_s, limits.attempt_s
