"""Who has which room when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from roombook.intervals import Interval, IntervalSet
from roombook.recurrence import Rule
from roombook.rooms import Room


@dataclass(frozen=True, slots=True)
class Booking:
    """One use of a room."""

    id: int
    room: str
    who: str
    when: Interval
    people: int = 1
    series: int | None = None


class Conflict(Exception):
    """The room is taken, or is being turned round, at that time."""

    def __init__(self, room: str, wanted: Interval, taken_by: list[Booking]) -> None:
        others = ", ".join(f"{booking.who} ({booking.when.start:%d.%m. %H:%M})" for booking in taken_by)
        super().__init__(f"{room} is not free at {wanted.start:%d.%m. %H:%M}: {others}")
        self.taken_by = taken_by


class Diary:
    """The bookings of any number of rooms. Two bookings of a room never come closer than its turnaround."""

    def __init__(self) -> None:
        self._bookings: dict[int, Booking] = {}
        self._last_id = 0
        self._last_series = 0

    def __len__(self) -> int:
        return len(self._bookings)

    def __iter__(self) -> Iterator[Booking]:
        return iter(sorted(self._bookings.values(), key=lambda booking: (booking.when, booking.id)))

    def of(self, room: str) -> list[Booking]:
        return [booking for booking in self if booking.room == room]

    def book(self, room: Room, who: str, when: Interval, people: int = 1) -> Booking:
        """Raises Conflict when the room is not free, ValueError when it is too small."""
        self._check(room, when, people)
        return self._add(room, who, when, people, series=None)

    def book_series(
        self, room: Room, who: str, first: Interval, rule: Rule, horizon: datetime, people: int = 1
    ) -> list[Booking]:
        """Books every occurrence of a rule before the horizon, or none of them."""
        occurrences = rule.occurrences(first, horizon)
        for occurrence in occurrences:
            self._check(room, occurrence, people)
        self._last_series += 1
        return [self._add(room, who, occurrence, people, self._last_series) for occurrence in occurrences]

    def cancel(self, booking_id: int) -> Booking:
        try:
            return self._bookings.pop(booking_id)
        except KeyError:
            raise LookupError(f"there is no booking {booking_id}") from None

    def cancel_series(self, series: int, after: datetime) -> int:
        """Cancels what is still to come of a series; returns how many bookings that were."""
        doomed = [b.id for b in self._bookings.values() if b.series == series and b.when.start >= after]
        for booking_id in doomed:
            del self._bookings[booking_id]
        return len(doomed)

    def conflicts(self, room: Room, when: Interval) -> list[Booking]:
        """Bookings that keep the room from being used at that time."""
        needed = when.padded(room.turnaround, room.turnaround)
        return [booking for booking in self.of(room.name) if booking.when.overlaps(needed)]

    def busy(self, room: Room, period: Interval) -> IntervalSet:
        """When the room cannot be used, turning it round included, within a period."""
        taken = IntervalSet(booking.when.padded(room.turnaround, room.turnaround) for booking in self.of(room.name))
        return taken.intersection(IntervalSet([period]))

    def used(self, room: Room, period: Interval) -> timedelta:
        """How long the room is in use within a period, without turning it round."""
        taken = IntervalSet(booking.when for booking in self.of(room.name))
        return taken.intersection(IntervalSet([period])).total()

    def _check(self, room: Room, when: Interval, people: int) -> None:
        if people > room.seats:
            raise ValueError(f"{room.name} seats {room.seats}, not {people}")
        taken_by = self.conflicts(room, when)
        if taken_by:
            raise Conflict(room.name, when, taken_by)

    def _add(self, room: Room, who: str, when: Interval, people: int, series: int | None) -> Booking:
        self._last_id += 1
        booking = Booking(self._last_id, room.name, who, when, people, series)
        self._bookings[booking.id] = booking
        return booking
