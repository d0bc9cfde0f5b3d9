"""What follows a failed attempt, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.tasks.policy import decide, delay_s, rule_for
from schemas.errors import ERRORS_BY_CODE, AttemptLost, DeadlineExceeded, ErrorInfo, Overloaded, SkillFailed
from schemas.task import Attempt, FailureRule, Retry, TaskSpec, Timeouts


def attempts(*states: str) -> list[Attempt]:
    return [Attempt.model_validate({"number": n, "runner": "r", "state": s}) for n, s in enumerate(states, 1)]


def spec(**fields: object) -> TaskSpec:
    return TaskSpec.model_validate({"id": "t", "box": "b", "skill": "s"} | fields)


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("skill_failed", "retry"), ("attempt_lost", "retry"), ("box_died", "retry"), ("overloaded", "retry"),
        ("deadline_exceeded", "retry"), ("from-a-newer-version", "retry"),
        ("invalid_arguments", "fail"), ("skill_not_found", "fail"), ("merge_conflict", "fail"),
        ("permission_denied", "fail"), ("driver_unavailable", "fail"), ("cancelled", "fail"),
    ],
)  # fmt: skip
def test_by_default_what_can_never_work_is_not_retried(code: str, action: str) -> None:
    assert rule_for(spec(), ErrorInfo(code=code, message="")).action == action


def test_every_error_has_a_rule() -> None:
    for code in ERRORS_BY_CODE:
        assert rule_for(spec(), ErrorInfo(code=code, message="")).action in ("retry", "fail")


def test_the_first_rule_that_fits_decides() -> None:
    rules = [
        FailureRule(match=["ValueError"], action="fail"),
        FailureRule(match=["unavailable"], action="fail"),  # fits its more special codes, too
        FailureRule(match=["skill_failed", "merge_conflict"], action="retry"),
    ]
    ours = spec(on_failure=rules)
    assert rule_for(ours, SkillFailed("", type="ValueError").to_info()).action == "fail"
    assert rule_for(ours, SkillFailed("", type="KeyError").to_info()).action == "retry"
    assert rule_for(ours, Overloaded("").to_info()).action == "fail"
    assert rule_for(ours, ErrorInfo(code="merge_conflict", message="")).action == "retry"
    assert rule_for(ours, AttemptLost("").to_info()).action == "retry"


def test_refused_attempts_cost_nothing() -> None:
    limits = spec(retry=Retry(max_attempts=2, initial_s=1, jitter=0))
    error = SkillFailed("").to_info()
    one = decide(limits, attempts("refused", "refused", "ended"), error, created_at=0, now=10, random=lambda: 0.5)
    assert one.retry_at == 11
    two = decide(limits, attempts("ended", "refused", "lost"), error, created_at=0, now=10, random=lambda: 0.5)
    assert two.retry_at is None
    assert "attempt 2 of 2" in two.reason


def test_no_retry_starts_after_the_total_time() -> None:
    limits = spec(retry=Retry(max_attempts=9, initial_s=5, jitter=0), timeouts=Timeouts(total_s=14))
    error = DeadlineExceeded("").to_info()
    at = {now: decide(limits, attempts("ended"), error, created_at=0, now=now, random=lambda: 0.5) for now in (8, 9)}
    assert at[8].retry_at == 13
    assert at[9].retry_at is None
    assert "total_s=14" in at[9].reason


@given(
    st.builds(
        Retry,
        initial_s=st.floats(0, 1e6),
        factor=st.floats(1, 1e6),
        max_s=st.floats(0, 1e6),
        jitter=st.floats(0, 1),
    ),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_delays_grow_to_a_cap_and_are_spread(retry: Retry, used: int, chance: float) -> None:
    delay = delay_s(retry, used, lambda: chance)
    assert 0 <= delay <= retry.max_s * 2
    middle = delay_s(retry, used, lambda: 0.5)
    assert middle == pytest.approx(min(retry.max_s, middle))
    assert delay_s(retry, used + 1, lambda: 0.5) >= middle
    assert abs(delay - middle) <= middle * (retry.jitter + 1e-9)
