from __future__ import annotations

from datetime import timedelta

import pytest
from clock import at, span
from roombook import Interval, IntervalSet


def test_an_interval_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="must end after"):
        Interval(at("9"), at("9"))


def test_the_end_does_not_belong_to_it() -> None:
    morning = span("9-12")
    assert morning.contains(at("9"))
    assert not morning.contains(at("12"))


def test_touching_intervals_do_not_overlap() -> None:
    assert not span("9-10").overlaps(span("10-11"))
    assert span("9-10:15").overlaps(span("10-11"))
    assert span("9-10").intersection(span("10-11")) is None


def test_a_set_joins_what_touches() -> None:
    joined = IntervalSet([span("10-11"), span("8-9"), span("9-10"), span("13-14")])
    assert list(joined) == [span("8-11"), span("13-14")]


def test_a_set_joins_what_lies_within() -> None:
    assert list(IntervalSet([span("8-12"), span("9-10")])) == [span("8-12")]


def test_intersection_of_sets() -> None:
    left = IntervalSet([span("8-10"), span("11-14")])
    right = IntervalSet([span("9-12"), span("13-18")])
    assert left.intersection(right) == IntervalSet([span("9-10"), span("11-12"), span("13-14")])


def test_difference_of_sets() -> None:
    day = IntervalSet([span("8-18")])
    taken = IntervalSet([span("7-9"), span("10-11"), span("17-19")])
    assert day.difference(taken) == IntervalSet([span("9-10"), span("11-17")])
    assert taken.difference(day) == IntervalSet([span("7-8"), span("18-19")])


def test_difference_with_nothing_in_common() -> None:
    morning = IntervalSet([span("8-12")])
    assert morning.difference(IntervalSet([span("7-8"), span("12-13"), span("15-16")])) == morning


def test_total_and_filter() -> None:
    gaps = IntervalSet([span("8-8:30"), span("9-10"), span("11-12:30")])
    assert gaps.total() == timedelta(hours=3)
    assert gaps.at_least(timedelta(hours=1)) == IntervalSet([span("9-10"), span("11-12:30")])
