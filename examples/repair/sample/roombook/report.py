"""How well rooms are used."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from roombook.diary import Diary
from roombook.intervals import Interval
from roombook.opening import OpeningHours
from roombook.rooms import Catalogue


@dataclass(frozen=True, slots=True)
class Usage:
    """One line of the report: hours in use, and which share of the open hours that is."""

    room: str
    hours: float
    share: float


def utilisation(rooms: Catalogue, opening: OpeningHours, diary: Diary, period: Interval) -> list[Usage]:
    """Every room, the busiest first. A period in which the building is closed has no share."""
    open_hours = opening.within(period).total() / timedelta(hours=1)
    lines = []
    for room in rooms:
        hours = diary.used(room, period) / timedelta(hours=1)
        lines.append(Usage(room.name, hours, hours / open_hours if open_hours else 0.0))
    return sorted(lines, key=lambda line: (-line.share, line.room))


def busiest_hours(diary: Diary, top: int = 3) -> list[tuple[int, int]]:
    """The hours of the day in which most bookings run, with their number; earlier hours first among equals."""
    counts: Counter[int] = Counter()
    for booking in diary:
        hour = booking.when.start.replace(minute=0, second=0, microsecond=0)
        while hour < booking.when.end:
            counts[hour.hour] += 1
            hour += timedelta(hours=1)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]


def table(lines: list[Usage]) -> str:
    """The report as text, columns aligned."""
    width = max((len(line.room) for line in lines), default=4)
    rows = [f"{'room':<{width}}  hours  share"]
    rows += [f"{line.room:<{width}}  {line.hours:5.1f}  {line.share:5.0%}" for line in lines]
    return "\n".join(rows)
