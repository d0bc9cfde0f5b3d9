"""Stretches of time, half-open: the start belongs to them, the end does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """From `start` up to, and not including, `end`. Never empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"an interval must end after it starts: {self.start} - {self.end}")

    @property
    def duration(self) -> timedelta:
        return self.end - self.start

    def contains(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def covers(self, other: Interval) -> bool:
        """Whether all of `other` lies within this interval."""
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: Interval) -> bool:
        """Whether the two share any time; touching ends do not."""
        return self.start < other.end and other.start < self.end

    def intersection(self, other: Interval) -> Interval | None:
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Interval(start, end) if start < end else None

    def padded(self, before: timedelta, after: timedelta) -> Interval:
        """The interval with time added at both ends."""
        return Interval(self.start - before, self.end + after)

    def shifted(self, by: timedelta) -> Interval:
        return Interval(self.start + by, self.end + by)


class IntervalSet:
    """Any number of intervals, kept sorted and apart: overlapping and touching ones are joined."""

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._intervals = _joined(intervals)

    def __iter__(self) -> Iterator[Interval]:
        return iter(self._intervals)

    def __len__(self) -> int:
        return len(self._intervals)

    def __bool__(self) -> bool:
        return bool(self._intervals)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and self._intervals == other._intervals

    def __hash__(self) -> int:
        return hash(tuple(self._intervals))

    def __repr__(self) -> str:
        return f"IntervalSet({self._intervals!r})"

    def union(self, other: IntervalSet) -> IntervalSet:
        return IntervalSet([*self._intervals, *other._intervals])

    def intersection(self, other: IntervalSet) -> IntervalSet:
        """Time that is in both sets; one pass over each."""
        found: list[Interval] = []
        mine, theirs = 0, 0
        while mine < len(self._intervals) and theirs < len(other._intervals):
            left, right = self._intervals[mine], other._intervals[theirs]
            common = left.intersection(right)
            if common is not None:
                found.append(common)
            if left.end <= right.end:
                mine += 1
            else:
                theirs += 1
        return IntervalSet(found)

    def difference(self, other: IntervalSet) -> IntervalSet:
        """Time that is in this set and not in `other`."""
        left: list[Interval] = []
        for interval in self._intervals:
            cursor = interval.start
            for taken in other._intervals:
                if taken.end <= cursor:
                    continue
                if taken.start >= interval.end:
                    break
                if taken.start > cursor:
                    left.append(Interval(cursor, taken.start))
                cursor = taken.end
            if cursor < interval.end:
                left.append(Interval(cursor, interval.end))
        return IntervalSet(left)

    def covers(self, interval: Interval) -> bool:
        """Whether the whole interval lies within the set."""
        return any(own.covers(interval) for own in self._intervals)

    def total(self) -> timedelta:
        return sum((interval.duration for interval in self._intervals), timedelta())

    def at_least(self, duration: timedelta) -> IntervalSet:
        """The intervals that are long enough."""
        return IntervalSet(interval for interval in self._intervals if interval.duration >= duration)


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    joined: list[Interval] = []
    for interval in sorted(intervals):
        if joined and interval.start <= joined[-1].end:
            last = joined.pop()
            interval = Interval(last.start, max(last.end, interval.end))
        joined.append(interval)
    return joined
