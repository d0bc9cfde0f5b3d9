from __future__ import annotations

from decimal import Decimal

from clock import at, span
from roombook import Catalogue, Diary, Interval, Tariff, quote
from roombook.pricing import invoice

PLAIN = Tariff(Decimal(20), Decimal(30))


def test_by_the_hour() -> None:
    assert quote(PLAIN, span("14-16")) == Decimal("40.00")


def test_peak_time_is_dearer() -> None:
    assert quote(PLAIN, span("11-13")) == Decimal("50.00")
    assert quote(PLAIN, span("8-18")) == Decimal("230.00")


def test_no_peak_at_weekends() -> None:
    assert quote(PLAIN, span("11-13", 4)) == Decimal("40.00")


def test_every_begun_quarter_is_paid() -> None:
    assert quote(PLAIN, span("14-14:50")) == Decimal("20.00")
    assert quote(PLAIN, span("14-14:05")) == Decimal("5.00")


def test_over_several_days() -> None:
    assert quote(PLAIN, Interval(at("18", 6), at("12", 8))) == Decimal("900.00")


def test_minimum_and_rounding() -> None:
    tariff = Tariff(Decimal("19.99"), Decimal(30), minimum=Decimal(8))
    assert quote(tariff, span("14-14:15")) == Decimal("8.00")
    assert quote(tariff, span("14-14:45")) == Decimal("14.99")


def test_the_highest_discount_counts() -> None:
    tariff = Tariff(Decimal(20), Decimal(30), discounts=[(5, Decimal("0.1")), (10, Decimal("0.25"))])
    assert quote(tariff, span("14-15"), 4) == Decimal("20.00")
    assert quote(tariff, span("14-15"), 5) == Decimal("18.00")
    assert quote(tariff, span("14-15"), 12) == Decimal("15.00")


def test_an_invoice_by_person(rooms: Catalogue, diary: Diary) -> None:
    tariff = Tariff(Decimal(20), Decimal(30), discounts=[(2, Decimal("0.5"))])
    diary.book(rooms.get("Ada"), "tom", span("14-15"))
    diary.book(rooms.get("Ada"), "mia", span("15-16"))
    diary.book(rooms.get("Curie"), "mia", span("9-10", 7))
    assert invoice(tariff, list(diary)) == {"mia": Decimal("25.00"), "tom": Decimal("20.00")}
