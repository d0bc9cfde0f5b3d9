from __future__ import annotations

from datetime import timedelta

import pytest
from clock import at, span
from roombook import Catalogue, Conflict, Diary, IntervalSet, Rule


def test_a_room_is_booked_once(rooms: Catalogue, diary: Diary) -> None:
    ada = rooms.get("Ada")
    diary.book(ada, "mia", span("9-10"))
    diary.book(ada, "tom", span("10-11"))
    with pytest.raises(Conflict, match="mia") as caught:
        diary.book(ada, "eve", span("9:30-9:45"))
    assert [booking.who for booking in caught.value.taken_by] == ["mia"]
    assert len(diary) == 2


def test_turning_round_keeps_bookings_apart(rooms: Catalogue, diary: Diary) -> None:
    babbage = rooms.get("Babbage")
    diary.book(babbage, "mia", span("10-11"))
    with pytest.raises(Conflict):
        diary.book(babbage, "tom", span("11:10-12"))
    with pytest.raises(Conflict):
        diary.book(babbage, "tom", span("9-9:50"))
    assert diary.book(babbage, "tom", span("11:15-12")).id == 2


def test_too_many_people(rooms: Catalogue, diary: Diary) -> None:
    with pytest.raises(ValueError, match="seats 4, not 5"):
        diary.book(rooms.get("Ada"), "mia", span("9-10"), people=5)
    assert diary.book(rooms.get("Ada"), "mia", span("9-10"), people=4).people == 4


def test_busy_includes_turning_round(rooms: Catalogue, diary: Diary) -> None:
    darwin = rooms.get("Darwin")
    diary.book(darwin, "mia", span("9-10"))
    diary.book(darwin, "tom", span("11-12"))
    assert diary.busy(darwin, span("8-18")) == IntervalSet([span("8:30-12:30")])
    assert diary.used(darwin, span("8-18")) == timedelta(hours=2)


def test_a_series_is_booked_whole_or_not_at_all(rooms: Catalogue, diary: Diary) -> None:
    ada = rooms.get("Ada")
    diary.book(ada, "tom", span("9-10", 20))
    weekly = Rule("weekly", count=4)
    with pytest.raises(Conflict):
        diary.book_series(ada, "mia", span("9-10"), weekly, at("0", 31))
    assert len(diary) == 1
    booked = diary.book_series(ada, "mia", span("10-11"), weekly, at("0", 31))
    assert [booking.when.start.day for booking in booked] == [6, 13, 20, 27]


def test_the_rest_of_a_series_is_cancelled(rooms: Catalogue, diary: Diary) -> None:
    curie = rooms.get("Curie")
    first = diary.book_series(curie, "mia", span("9-10"), Rule("daily", count=5), at("0", 31))
    second = diary.book_series(curie, "tom", span("11-12"), Rule("daily", count=5), at("0", 31))
    series = first[0].series
    assert series is not None
    assert series != second[0].series
    assert diary.cancel_series(series, at("9", 8)) == 3
    assert [booking.when.start.day for booking in diary.of("Curie") if booking.who == "mia"] == [6, 7]


def test_a_cancelled_room_is_free_again(rooms: Catalogue, diary: Diary) -> None:
    ada = rooms.get("Ada")
    booking = diary.book(ada, "mia", span("9-10"))
    diary.cancel(booking.id)
    assert diary.book(ada, "tom", span("9-10")).id == 2
    with pytest.raises(LookupError, match="no booking 1"):
        diary.cancel(booking.id)
