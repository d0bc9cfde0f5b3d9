from __future__ import annotations

from datetime import date, time, timedelta

from clock import at, span
from roombook import Interval, IntervalSet, OpeningHours


def test_closed_at_weekends_and_on_holidays(opening: OpeningHours) -> None:
    assert opening.on(date(2024, 5, 3)) == IntervalSet([span("8-18", 3)])
    assert not opening.on(date(2024, 5, 4))
    assert not opening.on(date(2024, 5, 1))


def test_special_hours_come_before_holidays() -> None:
    hours = OpeningHours(
        {2: ((time(8), time(18)),)},
        holidays=frozenset({date(2024, 5, 1)}),
        special={date(2024, 5, 1): ((time(10), time(14)),), date(2024, 5, 8): ()},
    )
    assert hours.on(date(2024, 5, 1)) == IntervalSet([span("10-14", 1)])
    assert not hours.on(date(2024, 5, 8))


def test_a_week_has_fifty_open_hours(opening: OpeningHours) -> None:
    assert opening.within(Interval(at("0", 6), at("0", 13))).total() == timedelta(hours=50)


def test_open_past_midnight() -> None:
    bar = OpeningHours({5: ((time(20), time(3)),)})
    assert bar.is_open(at("23", 4))
    assert bar.is_open(at("2:59", 5))
    assert not bar.is_open(at("3", 5))
    assert bar.within(Interval(at("0", 5), at("12", 5))) == IntervalSet([span("0-3", 5)])


def test_next_opening(opening: OpeningHours) -> None:
    assert opening.next_opening(at("7", 6)) == at("8", 6)
    assert opening.next_opening(at("9:20", 6)) == at("9:20", 6)
    assert opening.next_opening(at("18", 3)) == at("8", 6)
    assert OpeningHours({}).next_opening(at("9", 6)) is None
