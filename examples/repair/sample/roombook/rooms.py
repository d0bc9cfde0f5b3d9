"""What rooms there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Room:
    """A room: how many it seats, on which floor, what is in it, how long it takes to turn it round."""

    name: str
    seats: int
    floor: int = 0
    equipment: frozenset[str] = frozenset()
    turnaround: timedelta = timedelta()

    def suits(self, people: int, equipment: frozenset[str] = frozenset()) -> bool:
        return self.seats >= people and equipment <= self.equipment


class Catalogue:
    """The rooms of a building by name."""

    def __init__(self, rooms: Iterable[Room]) -> None:
        self._rooms: dict[str, Room] = {}
        for room in rooms:
            if room.name in self._rooms:
                raise ValueError(f"two rooms are called {room.name!r}")
            self._rooms[room.name] = room

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms.values())

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, name: str) -> Room:
        try:
            return self._rooms[name]
        except KeyError:
            raise LookupError(f"there is no room {name!r}") from None

    def suitable(self, people: int, equipment: frozenset[str] = frozenset()) -> list[Room]:
        """Rooms that will do, the tightest fit first; of equal size, the one with less in it; then by name."""
        fitting = [room for room in self if room.suits(people, equipment)]
        return sorted(fitting, key=lambda room: (room.seats, len(room.equipment), room.name))

    def floors(self) -> dict[int, list[str]]:
        """Names of the rooms by floor, both sorted."""
        plan: dict[int, list[str]] = {}
        for room in sorted(self, key=lambda room: (room.floor, room.name)):
            plan.setdefault(room.floor, []).append(room.name)
        return plan
