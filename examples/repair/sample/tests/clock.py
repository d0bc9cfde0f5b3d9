from __future__ import annotations

from datetime import datetime

from roombook import Interval


def at(text: str, day: int = 6) -> datetime:
    """A moment in May 2024; the 6th is a Monday."""
    hour, _, minute = text.partition(":")
    return datetime(2024, 5, day, int(hour), int(minute or 0))


def span(text: str, day: int = 6) -> Interval:
    """`9-10:30` as an interval on a day in May 2024."""
    start, end = text.split("-")
    return Interval(at(start, day), at(end, day))
