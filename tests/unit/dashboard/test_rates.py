"""Budgets and rates, on a clock of their own."""

from __future__ import annotations

import pytest

from hub.dashboard.budget import Budget
from hub.dashboard.limits import FeedLimits
from hub.dashboard.rates import Rates
from hub.dashboard.tap import Window


def window(at: float, **fields: object) -> Window:
    made = Window(at - 0.25, ended_at=at)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_budget_lets_a_burst_through_and_then_its_rate() -> None:
    budget = Budget(100, now=0)
    assert sum(budget.take() for _ in range(500)) == 100
    assert budget.refill(0.5) == pytest.approx(50)
    assert sum(budget.take() for _ in range(500)) == 50
    assert budget.refill(60) == 100


def test_debt_is_paid_back_before_anything_else() -> None:
    budget = Budget(100, now=0)
    budget.spend(300)
    assert budget.refill(1) == -100
    assert not budget.take()
    assert budget.refill(3) == 100


def test_rates_are_of_the_last_second() -> None:
    rates = Rates(FeedLimits())
    for i in range(8):
        counts = {"event": 25 if i >= 4 else 0}
        rates.add(window(i * 0.25, counts=counts, listened_s={"event": 0.25}))
    assert rates.now()["events_s"] == 100
    assert rates.now()["sampled"] == []


def test_a_sampled_kind_is_estimated_from_the_part_that_was_heard() -> None:
    rates = Rates(FeedLimits())
    for i in range(4):
        rates.add(window(i * 0.25, counts={"call": 500}, listened_s={"call": 0.01}, sampled=("call",)))
    assert rates.now()["calls_s"] == 50_000
    assert rates.now()["sampled"] == ["calls_s"]


def test_heartbeats_are_told_apart_from_signals() -> None:
    rates = Rates(FeedLimits())
    rates.add(window(0.25, counts={"signal": 100}, listened_s={"signal": 1.0}, presence=90))
    assert rates.now()["signals_s"] == 10
    assert rates.now()["presence_s"] == 90


def test_history_has_one_value_a_second_and_a_bound() -> None:
    rates = Rates(FeedLimits(history=5))
    for i in range(40):
        rates.add(window(i * 0.25, counts={"event": i}, listened_s={"event": 0.25}, unlisted=2))
    assert len(rates.history()["events_s"]) == 5
    assert rates.now()["dropped"] == 80
