from __future__ import annotations

from datetime import date
from itertools import islice

import pytest
from clock import at, span
from roombook import Rule
from roombook.recurrence import add_months


def test_every_third_day() -> None:
    rule = Rule("daily", interval=3, count=4)
    assert [day.day for day in rule.dates(date(2024, 5, 6))] == [6, 9, 12, 15]


def test_two_weekdays_every_second_week() -> None:
    rule = Rule("weekly", interval=2, weekdays=frozenset({0, 3}), until=date(2024, 6, 6))
    found = [day.isoformat() for day in rule.dates(date(2024, 5, 7))]
    assert found == ["2024-05-09", "2024-05-20", "2024-05-23", "2024-06-03", "2024-06-06"]


def test_exceptions_count_but_are_left_out() -> None:
    rule = Rule("weekly", count=4, except_on=frozenset({date(2024, 5, 20)}))
    assert [day.day for day in rule.dates(date(2024, 5, 6))] == [6, 13, 27]


def test_monthly_keeps_to_the_last_day() -> None:
    rule = Rule("monthly")
    found = [day.isoformat() for day in islice(rule.dates(date(2024, 1, 31)), 4)]
    assert found == ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]


def test_months_over_the_end_of_a_year() -> None:
    assert add_months(date(2023, 11, 15), 2) == date(2024, 1, 15)
    assert add_months(date(2023, 12, 31), 12) == date(2024, 12, 31)


def test_occurrences_stop_at_the_horizon() -> None:
    rule = Rule("daily")
    assert rule.occurrences(span("9-10"), at("9", 9)) == [span("9-10", 6), span("9-10", 7), span("9-10", 8)]


def test_a_rule_must_make_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Rule("daily", interval=0)
    with pytest.raises(ValueError, match="only a weekly rule"):
        Rule("monthly", weekdays=frozenset({1}))
