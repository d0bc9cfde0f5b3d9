"""What follows a failed attempt: try again, when, or give up. Pure; `docs/state-machines.md` has the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.errors import ERRORS_BY_CODE, BoxhubError, ErrorInfo
from schemas.task import Attempt, FailureRule, Retry, TaskSpec

DEFAULT_RULES: Final = (
    FailureRule(
        match=["invalid_input", "not_found", "conflict", "permission_denied", "unauthenticated", "integrity_error",
               "driver_unavailable", "cancelled"],
        action="fail",
    ),
    FailureRule(match=["*"], action="retry"),
)  # fmt: skip
"""Applied after the task's own rules: what can never work fails, everything else is tried again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``retry_at`` is ``None`` when the task fails; ``reason`` says why, for people."""

    retry_at: float | None
    reason: str


def decide(
    spec: TaskSpec,
    attempts: Sequence[Attempt],
    error: ErrorInfo,
    *,
    created_at: float,
    now: float,
    random: Callable[[], float],
) -> Verdict:
    """The verdict on ``error``, with which the last of ``attempts`` ended. ``random`` gives numbers in [0, 1)."""
    if rule_for(spec, error).action == "fail":
        return Verdict(None, f"{error.code} is not retried")
    used = sum(attempt.state != "refused" for attempt in attempts)
    if used >= spec.retry.max_attempts:
        return Verdict(None, f"attempt {used} of {spec.retry.max_attempts} was the last")
    retry_at = now + delay_s(spec.retry, used, random)
    total_s = spec.timeouts.total_s
    if total_s is not None and retry_at >= created_at + total_s:
        return Verdict(None, f"no time left for another attempt within total_s={total_s:g}")
    return Verdict(retry_at, f"attempt {used} of {spec.retry.max_attempts} ended with {error.code}")


def rule_for(spec: TaskSpec, error: ErrorInfo) -> FailureRule:
    """The first rule that fits; there always is one, the last of `DEFAULT_RULES` fits all."""
    names = {"*", error.code, str(error.details.get("type", ""))}
    cls = ERRORS_BY_CODE.get(error.code)
    if cls is not None:
        ancestors = (c for c in cls.__mro__ if issubclass(c, BoxhubError) and c is not BoxhubError)
        names.update(ancestor.code for ancestor in ancestors)
    return next(rule for rule in (*spec.on_failure, *DEFAULT_RULES) if not names.isdisjoint(rule.match))


def delay_s(retry: Retry, used: int, random: Callable[[], float]) -> float:
    """Seconds until the attempt after ``used`` ones: exponential, capped, then spread by ± jitter."""
    try:
        grown = retry.initial_s * retry.factor ** (used - 1)
    except OverflowError:
        grown = retry.max_s
    return min(grown, retry.max_s) * (1 + retry.jitter * (2 * random() - 1))
