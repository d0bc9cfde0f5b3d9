from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest
from roombook import Catalogue, Diary, OpeningHours, Planner, Room


@pytest.fixture
def rooms() -> Catalogue:
    return Catalogue(
        [
            Room("Ada", 4, floor=1, equipment=frozenset({"screen"})),
            Room("Babbage", 8, floor=2, equipment=frozenset({"screen", "phone"}), turnaround=timedelta(minutes=15)),
            Room("Curie", 8, floor=1),
            Room("Darwin", 20, floor=3, equipment=frozenset({"screen", "stage"}), turnaround=timedelta(minutes=30)),
        ]
    )


@pytest.fixture
def opening() -> OpeningHours:
    return OpeningHours.workdays(time(8), time(18), holidays=frozenset({date(2024, 5, 1)}))


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def planner(rooms: Catalogue, opening: OpeningHours, diary: Diary) -> Planner:
    return Planner(rooms, opening, diary)


@pytest.fixture
def monday() -> datetime:
    return datetime(2024, 5, 6)
