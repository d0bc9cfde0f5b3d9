from __future__ import annotations

from clock import at, span
from roombook import Catalogue, Diary, Interval, OpeningHours
from roombook.report import busiest_hours, table, utilisation


def test_share_of_the_open_hours(rooms: Catalogue, opening: OpeningHours, diary: Diary) -> None:
    diary.book(rooms.get("Curie"), "mia", span("8-13"))
    diary.book(rooms.get("Darwin"), "tom", span("9-10"))
    lines = utilisation(rooms, opening, diary, span("0-23:59"))
    assert [(line.room, line.hours, line.share) for line in lines] == [
        ("Curie", 5.0, 0.5),
        ("Darwin", 1.0, 0.1),
        ("Ada", 0.0, 0.0),
        ("Babbage", 0.0, 0.0),
    ]


def test_a_closed_day_has_no_share(rooms: Catalogue, opening: OpeningHours, diary: Diary) -> None:
    assert {line.share for line in utilisation(rooms, opening, diary, span("0-23:59", 1))} == {0.0}


def test_busiest_hours(rooms: Catalogue, diary: Diary) -> None:
    diary.book(rooms.get("Ada"), "mia", span("9:30-11"))
    diary.book(rooms.get("Curie"), "tom", span("10-12"))
    diary.book(rooms.get("Darwin"), "eve", span("10:15-10:45", 7))
    assert busiest_hours(diary) == [(10, 3), (9, 1), (11, 1)]


def test_the_table_is_aligned(rooms: Catalogue, opening: OpeningHours, diary: Diary) -> None:
    diary.book(rooms.get("Ada"), "mia", span("8-9", 6))
    text = table(utilisation(rooms, opening, diary, Interval(at("0", 6), at("0", 7))))
    assert text.splitlines()[:2] == ["room     hours  share", "Ada        1.0    10%"]
