"""Listens to everything on the bus, outside the message path, at a bounded price.

The tap has a connection of its own and core subscriptions only: they see JetStream publishes too, hold nothing back
and acknowledge nothing. Its price is bounded by *credit*: every subscription carries an auto-unsubscribe limit that
is raised with each turn, so under a flood the **server** stops sending and neither the network nor this process
pays for messages that nobody could read anyway. One subscription per kind, so that a flood of one does not hide
what is rare. What was cut is reported as `Window.sampled`, never silently.

Calls are seen by their answers. A subscription to the calls themselves would count as somebody who answers them:
their callers would wait for a deadline where they should hear at once that nobody is there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from box_agent.bus.replies import ANSWERS_TO_CALLS
from hub.dashboard.budget import Budget
from hub.dashboard.limits import FeedLimits
from hub.dashboard.listener import Listener
from hub.dashboard.rows import PRESENCE, open_answer, subject_of, traffic_row
from hub.dashboard.table import Row
from schemas import subjects
from schemas.subjects import Subject

Heard = Literal["inbox", "event", "signal", "report", "dead", "call"]
Published = Literal["inbox", "event", "signal", "report", "dead"]
_PUBLISHED: Final[tuple[Published, ...]] = ("inbox", "event", "signal", "report", "dead")
_FLOOR: Final = 16
"""Credit of a kind when the budget is spent, so that rare kinds stay visible under a flood of another."""


class Observer(Protocol):
    """Told of everything that passes; must not block."""

    def note(self, subject: Subject, data: bytes) -> None: ...

    def note_answer(self, box: str, skill: str, data: msgspec.Raw) -> None: ...


@dataclass(slots=True)
class Window:
    """What passed since the last one."""

    started_at: float
    ended_at: float = 0.0
    counts: dict[Heard, int] = field(default_factory=dict)
    listened_s: dict[Heard, float] = field(default_factory=dict)
    """How long each kind was listened to; shorter than the window where its credit ran out."""
    sampled: tuple[Heard, ...] = ()
    presence: int = 0  # heartbeats among the signals; they make no rows
    rows: list[Row] = field(default_factory=list)
    unlisted: int = 0  # messages that were counted and made no row, for lack of budget


class Tap:
    """Watches one tenant."""

    def __init__(self, client: Client, tenant: str, limits: FeedLimits, observer: Observer) -> None:
        now = time.monotonic()
        self._tenant = tenant
        self._limits = limits
        self._observer = observer
        self._messages = Budget(limits.bus_per_s, now)
        self._bytes = Budget(limits.bus_bytes_per_s, now)
        self._window = Window(now)
        self._listeners: dict[Heard, Listener] = {
            kind: Listener(client, subjects.every(tenant, kind), self._published) for kind in _PUBLISHED
        }
        self._listeners["call"] = Listener(client, ANSWERS_TO_CALLS, self._answered)
        self._row_budgets = {kind: Budget(limits.rows_per_s, now) for kind in self._listeners}

    async def turn(self) -> Window:
        """What passed since the last turn; gives new credit. The first turn opens the subscriptions.

        Raises nats-py's errors when the connection is closed for good.
        """
        now = time.monotonic()
        window, self._window = self._window, Window(now)
        window.ended_at = now
        for kind, listener in self._listeners.items():
            window.counts[kind] = listener.count
            window.listened_s[kind] = listener.listened_s(window.started_at, now)
        window.sampled = tuple(kind for kind, listener in self._listeners.items() if listener.exhausted)
        messages, size = self._messages.refill(now), self._bytes.refill(now)
        for budget in self._row_budgets.values():
            budget.refill(now)
        for listener in self._listeners.values():
            # Any kind may use half of what is there: the sum may overdraw the budget, later turns pay it back.
            await listener.renew(max(_FLOOR, int(min(messages / 2, size / 2 / max(listener.mean_bytes, 1)))))
        return window

    def _published(self, message: Msg) -> bool:
        self._spend(message)
        subject = subject_of(message.subject)
        if subject is None:
            return False
        self._observer.note(subject, message.data)
        if subject.kind == "signal" and subject.name.startswith(PRESENCE):
            self._window.presence += 1
        elif subject.kind in ("inbox", "event", "signal", "report") and self._may_list(subject.kind):
            self._window.rows.append(traffic_row(subject, message.data, time.time(), self._limits.preview_chars))
        return True

    def _answered(self, message: Msg) -> bool:
        """Tenants share the space of reply subjects; only our own answers count, and of a stream only its end."""
        self._spend(message)
        caller = message.subject.split(".", 2)[1]
        answer = open_answer(self._tenant, caller, message.data)
        if answer is None:
            return False
        self._observer.note_answer(answer.box, answer.skill, answer.data)
        if self._may_list("call"):
            self._window.rows.append(answer.row(time.time(), self._limits.preview_chars))
        return True

    def _spend(self, message: Msg) -> None:
        self._messages.spend(1)
        self._bytes.spend(len(message.data))

    def _may_list(self, kind: Heard) -> bool:
        if self._row_budgets[kind].take():
            return True
        self._window.unlisted += 1
        return False
