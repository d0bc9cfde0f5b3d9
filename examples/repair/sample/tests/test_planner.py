from __future__ import annotations

from datetime import timedelta

import pytest
from clock import at, span
from roombook import Catalogue, Diary, Interval, IntervalSet, Planner, Request
from roombook.planner import on_grid

HOUR = timedelta(hours=1)


def test_free_time_of_a_day(planner: Planner, rooms: Catalogue, diary: Diary) -> None:
    darwin = rooms.get("Darwin")
    diary.book(darwin, "mia", span("9-10"))
    diary.book(darwin, "tom", span("14-15"))
    assert planner.free(darwin, span("0-23:59")) == IntervalSet([span("8-8:30"), span("10:30-13:30"), span("15:30-18")])


def test_slots_start_on_the_quarter_hour(planner: Planner, rooms: Catalogue, diary: Diary) -> None:
    ada = rooms.get("Ada")
    diary.book(ada, "mia", span("8-9:05"))
    diary.book(ada, "tom", span("10:30-18"))
    assert list(planner.slots(ada, HOUR, span("0-23:59"))) == [span("9:15-10:15"), span("9:30-10:30")]


def test_a_long_meeting_skips_short_gaps(planner: Planner, rooms: Catalogue, diary: Diary) -> None:
    babbage = rooms.get("Babbage")
    diary.book(babbage, "mia", span("9-10"))
    diary.book(babbage, "tom", span("11-12"))
    diary.book(babbage, "eve", span("14-15"))
    first = next(planner.slots(babbage, HOUR, span("0-23:59")))
    assert first == span("12:15-13:15")


def test_the_best_offer_wastes_no_seats(planner: Planner) -> None:
    request = Request("mia", HOUR, people=4, period=span("8-18"))
    assert [offer.room.name for offer in planner.offers(request)] == ["Ada", "Babbage", "Curie", "Darwin"]


def test_the_preferred_floor_counts(planner: Planner) -> None:
    request = Request("mia", HOUR, people=6, period=span("8-18"), preferred_floor=2)
    offers = planner.offers(request, limit=2)
    assert [(offer.room.name, offer.penalty) for offer in offers] == [("Babbage", 1.0), ("Curie", 3.0)]


def test_waiting_counts(planner: Planner, rooms: Catalogue, diary: Diary) -> None:
    diary.book(rooms.get("Ada"), "tom", span("8-12"))
    request = Request("mia", HOUR, people=3, period=span("8-18"))
    assert [offer.room.name for offer in planner.offers(request, limit=3)] == ["Babbage", "Curie", "Ada"]


def test_book_best(planner: Planner, diary: Diary) -> None:
    request = Request("mia", HOUR, people=4, period=span("8-18"), equipment=frozenset({"screen"}))
    assert planner.book_best(request).room == "Ada"
    assert planner.book_best(request).when == span("9-10")
    assert planner.book_best(request).room == "Babbage"
    with pytest.raises(LookupError, match="no room is free for 40"):
        planner.book_best(Request("mia", HOUR, people=40, period=span("8-18")))


def test_a_slot_that_several_rooms_share(planner: Planner, rooms: Catalogue, diary: Diary) -> None:
    ada, curie = rooms.get("Ada"), rooms.get("Curie")
    diary.book(ada, "mia", span("8-10"))
    diary.book(curie, "tom", span("10:20-11:20"))
    assert planner.common_slot([ada, curie], HOUR, span("0-23:59")) == span("11:30-12:30")
    assert planner.common_slot([], HOUR, span("0-23:59")) is None
    diary.book(ada, "eve", span("11-18"))
    assert planner.common_slot([ada, curie], HOUR, span("0-23:59")) is None


def test_nothing_on_a_holiday(planner: Planner, rooms: Catalogue) -> None:
    assert list(planner.slots(rooms.get("Ada"), HOUR, span("0-23:59", 1))) == []
    over_night = Interval(at("17:30", 2), at("9:30", 3))
    assert next(planner.slots(rooms.get("Ada"), HOUR, over_night)) == span("8-9", 3)


def test_the_grid() -> None:
    assert on_grid(at("9:00")) == at("9")
    assert on_grid(at("9:01")) == at("9:15")
    assert on_grid(at("9:46")) == at("10")
