"""What a booking costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

from roombook.diary import Booking
from roombook.intervals import Interval
from roombook.opening import days

CENT = Decimal("0.01")
QUARTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices by the hour; peak time is dearer. Every begun quarter of an hour is paid.

    `discounts` are (bookings in a month, share taken off), smallest number first; the highest that is reached counts.
    """

    hourly: Decimal
    peak_hourly: Decimal
    peak: tuple[time, time] = (time(9), time(12))
    minimum: Decimal = Decimal(0)
    discounts: Sequence[tuple[int, Decimal]] = ()

    def peak_on(self, day: date) -> Interval | None:
        """Peak time of a date; there is none at weekends."""
        if day.weekday() >= 5:
            return None
        return Interval(datetime.combine(day, self.peak[0]), datetime.combine(day, self.peak[1]))

    def discount(self, bookings: int) -> Decimal:
        share = Decimal(0)
        for threshold, value in self.discounts:
            if bookings >= threshold:
                share = value
        return share


def quote(tariff: Tariff, when: Interval, bookings_this_month: int = 0) -> Decimal:
    """The price of one booking in full cents, never below the tariff's minimum."""
    peak = timedelta()
    for day in days(when.start.date(), when.end.date()):
        dear = tariff.peak_on(day)
        common = when.intersection(dear) if dear is not None else None
        if common is not None:
            peak += common.duration
    cost = _cost(peak, tariff.peak_hourly) + _cost(when.duration - peak, tariff.hourly)
    cost -= cost * tariff.discount(bookings_this_month)
    return max(cost, tariff.minimum).quantize(CENT, rounding=ROUND_HALF_UP)


def invoice(tariff: Tariff, bookings: Sequence[Booking]) -> dict[str, Decimal]:
    """What everybody owes for a month's bookings; the discount counts each person's own bookings."""
    by_person: dict[str, list[Booking]] = {}
    for booking in bookings:
        by_person.setdefault(booking.who, []).append(booking)
    return {
        who: sum((quote(tariff, booking.when, len(own)) for booking in own), Decimal(0))
        for who, own in sorted(by_person.items())
    }


def _cost(duration: timedelta, hourly: Decimal) -> Decimal:
    quarters = -(-duration // QUARTER)
    return hourly * quarters / 4
