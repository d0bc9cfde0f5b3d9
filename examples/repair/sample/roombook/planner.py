"""When a meeting can be, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from roombook.diary import Booking, Diary
from roombook.intervals import Interval, IntervalSet
from roombook.opening import OpeningHours
from roombook.rooms import Catalogue, Room

GRID = timedelta(minutes=15)
"""Meetings start on the quarter hour."""


@dataclass(frozen=True, slots=True)
class Request:
    """A meeting that is looked for: how long, with how many, with what, not outside of a period."""

    who: str
    duration: timedelta
    people: int
    period: Interval
    equipment: frozenset[str] = frozenset()
    preferred_floor: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A room at a time, and how good it is: lower is better."""

    room: Room
    when: Interval
    penalty: float


class Planner:
    """Finds free slots in the diary of a building."""

    def __init__(self, rooms: Catalogue, opening: OpeningHours, diary: Diary) -> None:
        self.rooms = rooms
        self.opening = opening
        self.diary = diary

    def free(self, room: Room, period: Interval) -> IntervalSet:
        """When the room can be booked within a period."""
        return self.opening.within(period).difference(self.diary.busy(room, period))

    def slots(self, room: Room, duration: timedelta, period: Interval) -> Iterator[Interval]:
        """Every start on the grid at which the room is free for that long, earliest first."""
        for gap in self.free(room, period).at_least(duration):
            start = on_grid(gap.start)
            while start + duration <= gap.end:
                yield Interval(start, start + duration)
                start += GRID

    def offers(self, request: Request, limit: int = 5) -> list[Offer]:
        """The best offers: at most one for a room, sorted by penalty, then time, then room."""
        found: list[Offer] = []
        for room in self.rooms.suitable(request.people, request.equipment):
            slot = next(self.slots(room, request.duration, request.period), None)
            if slot is not None:
                found.append(Offer(room, slot, self._penalty(request, room, slot)))
        found.sort(key=lambda offer: (offer.penalty, offer.when.start, offer.room.name))
        return found[:limit]

    def book_best(self, request: Request) -> Booking:
        """Books the best offer. Raises LookupError when there is none."""
        offers = self.offers(request, limit=1)
        if not offers:
            raise LookupError(f"no room is free for {request.people} people within the period")
        best = offers[0]
        return self.diary.book(best.room, request.who, best.when, request.people)

    def common_slot(self, rooms: list[Room], duration: timedelta, period: Interval) -> Interval | None:
        """The first slot at which all of the rooms are free, for meetings that spread over several."""
        if not rooms:
            return None
        shared = self.free(rooms[0], period)
        for room in rooms[1:]:
            shared = shared.intersection(self.free(room, period))
        for gap in shared.at_least(duration):
            start = on_grid(gap.start)
            if start + duration <= gap.end:
                return Interval(start, start + duration)
        return None

    def _penalty(self, request: Request, room: Room, slot: Interval) -> float:
        """Empty seats, floors to climb, and hours to wait all count."""
        empty_seats = request.people - room.seats
        floors = abs(room.floor - request.preferred_floor) if request.preferred_floor is not None else 0
        waiting_hours = (slot.start - request.period.start) / timedelta(hours=1)
        return empty_seats * 0.5 + floors * 2.0 + waiting_hours


def on_grid(moment: datetime) -> datetime:
    """The first moment on the grid that is not before this one."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    past = (moment - midnight) % GRID
    return moment if not past else moment + (GRID - past)
