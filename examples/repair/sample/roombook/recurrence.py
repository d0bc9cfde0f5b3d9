"""Bookings that come again: every second Tuesday, the last working day of the month."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Literal

from roombook.intervals import Interval

Frequency = Literal["daily", "weekly", "monthly"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When something happens again.

    `interval` counts days, weeks or months between two turns. `weekdays` (0 is Monday) is for weekly rules; without
    it the weekday of the start counts. A monthly rule keeps the day of the month and falls on the month's last day
    where it has no such day. `count` and `until` (included) end it; a rule needs one of them to be finite.
    """

    frequency: Frequency
    interval: int = 1
    weekdays: frozenset[int] = frozenset()
    count: int | None = None
    until: date | None = None
    except_on: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError("a rule's interval is at least 1")
        if self.weekdays and self.frequency != "weekly":
            raise ValueError("only a weekly rule has weekdays")

    def dates(self, start: date) -> Iterator[date]:
        """The dates of the rule from `start` on, in order. Exceptions count towards `count` but are left out."""
        turns = self._turns(start)
        if self.count is not None:
            turns = islice(turns, self.count)
        for day in turns:
            if self.until is not None and day > self.until:
                return
            if day not in self.except_on:
                yield day

    def occurrences(self, first: Interval, horizon: datetime) -> list[Interval]:
        """The repetitions of an interval that start before the horizon, the first one included."""
        found: list[Interval] = []
        for day in self.dates(first.start.date()):
            occurrence = first.shifted(timedelta(days=(day - first.start.date()).days))
            if occurrence.start >= horizon:
                break
            found.append(occurrence)
        return found

    def _turns(self, start: date) -> Iterator[date]:
        if self.frequency == "daily":
            return _every(start, timedelta(days=self.interval))
        if self.frequency == "weekly":
            return self._weekly(start)
        return self._monthly(start)

    def _weekly(self, start: date) -> Iterator[date]:
        weekdays = sorted(self.weekdays or {start.weekday()})
        monday = start - timedelta(days=start.weekday())
        while True:
            for weekday in weekdays:
                day = monday + timedelta(days=weekday)
                if day >= start:
                    yield day
            monday += timedelta(weeks=self.interval)

    def _monthly(self, start: date) -> Iterator[date]:
        step = 0
        while True:
            yield add_months(start, step)
            step += self.interval


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day."""
    index = day.year * 12 + day.month - 1 + months
    year, month = index // 12, index % 12 + 1
    last = calendar.monthrange(year, month)[1]
    return date(year, month, min(day.day, last))


def _every(start: date, step: timedelta) -> Iterator[date]:
    day = start
    while True:
        yield day
        day += step
