"""When a building is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from roombook.intervals import Interval, IntervalSet

Hours = tuple[time, time]
"""Opening and closing time; a closing time that is not after the opening one is on the next day."""

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """Hours by weekday (0 is Monday), with exceptions by date.

    `special` replaces the hours of a date; an empty tuple closes it. A holiday is closed unless it is special.
    """

    weekly: Mapping[int, tuple[Hours, ...]]
    holidays: frozenset[date] = frozenset()
    special: Mapping[date, tuple[Hours, ...]] = field(default_factory=dict)

    @classmethod
    def workdays(cls, opens: time, closes: time, holidays: frozenset[date] = frozenset()) -> OpeningHours:
        """The same hours from Monday to Friday."""
        return cls(dict.fromkeys(range(5), ((opens, closes),)), holidays)

    def on(self, day: date) -> IntervalSet:
        """The open time that begins on a date."""
        if day in self.special:
            hours = self.special[day]
        elif day in self.holidays:
            hours = ()
        else:
            hours = self.weekly.get(day.weekday(), ())
        return IntervalSet(_interval(day, opens, closes) for opens, closes in hours)

    def within(self, period: Interval) -> IntervalSet:
        """All open time of a period, what began the evening before included."""
        opened: list[Interval] = []
        for day in days(period.start.date() - ONE_DAY, period.end.date()):
            opened.extend(self.on(day))
        return IntervalSet(opened).intersection(IntervalSet([period]))

    def is_open(self, moment: datetime) -> bool:
        today = self.on(moment.date())
        yesterday = self.on(moment.date() - ONE_DAY)
        return any(interval.contains(moment) for interval in today.union(yesterday))

    def next_opening(self, after: datetime, horizon_days: int = 30) -> datetime | None:
        """The first moment not before `after` at which the building is open; None within the horizon."""
        if self.is_open(after):
            return after
        for day in days(after.date(), after.date() + timedelta(days=horizon_days)):
            for interval in self.on(day):
                if interval.start >= after:
                    return interval.start
        return None


def days(first: date, last: date) -> Iterator[date]:
    """Every date from `first` to `last`, both included."""
    day = first
    while day <= last:
        yield day
        day += ONE_DAY


def _interval(day: date, opens: time, closes: time) -> Interval:
    end_day = day if closes > opens else day + ONE_DAY
    return Interval(datetime.combine(day, opens), datetime.combine(end_day, closes))
