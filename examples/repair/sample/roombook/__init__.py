"""Books meeting rooms.

intervals    stretches of time and sets of them
opening      when a building is open
recurrence   bookings that come again
rooms        what rooms there are
diary        who has which room when
planner      when a meeting can be, and where
pricing      what it costs
report       how well rooms are used
"""

from roombook.diary import Booking, Conflict, Diary
from roombook.intervals import Interval, IntervalSet
from roombook.opening import OpeningHours
from roombook.planner import Planner, Request
from roombook.pricing import Tariff, quote
from roombook.recurrence import Rule
from roombook.rooms import Catalogue, Room

__all__ = [
    "Booking",
    "Catalogue",
    "Conflict",
    "Diary",
    "Interval",
    "IntervalSet",
    "OpeningHours",
    "Planner",
    "Request",
    "Room",
    "Rule",
    "Tariff",
    "quote",
]
