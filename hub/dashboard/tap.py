"""Listens to everything on the bus, outside the message path, at a bounded price.

The tap has a connection of its own and core subscriptions only: they see JetStream publishes too, hold nothing
back and acknowledge nothing. Its price is bounded by *credit*: every subscription carries an auto-unsubscribe
limit that is raised with each turn, so under a flood the **server** stops sending and neither the network nor
this process pays for messages that nobody could read anyway. One subscription per kind, so that a flood of
calls does not hide a rare event. What was cut is reported as `Window.sampled`, never silently.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hub.dashboard.budget import Budget
from hub.dashboard.limits import FeedLimits
from hub.dashboard.rows import PRESENCE, TRAFFIC_KINDS, subject_of, traffic_row
from hub.dashboard.table import Row
from schemas import subjects
from schemas.subjects import Kind, Subject

KINDS: Final[tuple[Kind, ...]] = (*TRAFFIC_KINDS, "dead")
_FLOOR: Final = 16
"""Credit of a kind when the budget is spent, so that rare kinds stay visible under a flood of another."""


@dataclass(slots=True)
class Window:
    """What passed since the last one."""

    started_at: float
    ended_at: float = 0.0
    counts: dict[Kind, int] = field(default_factory=dict)
    listened_s: dict[Kind, float] = field(default_factory=dict)
    """How long each kind was listened to; shorter than the window where its credit ran out."""
    sampled: tuple[Kind, ...] = ()
    presence: int = 0  # heartbeats among the signals; they make no rows
    rows: list[Row] = field(default_factory=list)
    unlisted: int = 0  # messages that were counted and made no row, for lack of budget


class Tap:
    """Watches one tenant. ``on_seen`` is told every subject that passes; it must not block."""

    def __init__(
        self, client: Client, tenant: str, limits: FeedLimits, on_seen: Callable[[Subject, bytes], None]
    ) -> None:
        now = time.monotonic()
        self._limits = limits
        self._on_seen = on_seen
        self._messages = Budget(limits.bus_per_s, now)
        self._bytes = Budget(limits.bus_bytes_per_s, now)
        self._row_budget = Budget(limits.rows_per_s, now)
        self._window = Window(now)
        self._listeners = [_Listener(kind, _subject(tenant, kind), client, self._take) for kind in KINDS]

    async def turn(self) -> Window:
        """What passed since the last turn; gives new credit. The first turn opens the subscriptions.

        Raises nats-py's errors when the connection is closed for good.
        """
        now = time.monotonic()
        window, self._window = self._window, Window(now)
        window.ended_at = now
        window.sampled = tuple(ear.kind for ear in self._listeners if ear.exhausted)
        for ear in self._listeners:
            window.counts[ear.kind] = ear.count
            window.listened_s[ear.kind] = ear.listened_s(window)
        messages, size = self._messages.refill(now), self._bytes.refill(now)
        self._row_budget.refill(now)
        for ear in self._listeners:
            # Any kind may use half of what is there: the sum may overdraw the budget, later turns pay it back.
            await ear.renew(max(_FLOOR, int(min(messages / 2, size / 2 / max(ear.mean_bytes, 1)))))
        return window

    def _take(self, ear: _Listener, message: Msg) -> None:
        size = len(message.data)
        ear.heard(size)
        self._messages.spend(1)
        self._bytes.spend(size)
        subject = subject_of(message.subject)
        if subject is None:
            return
        self._on_seen(subject, message.data)
        if subject.kind == "signal" and subject.name.startswith(PRESENCE):
            self._window.presence += 1
        elif subject.kind in TRAFFIC_KINDS:
            if self._row_budget.take():
                self._window.rows.append(traffic_row(subject, message.data, time.time(), self._limits.preview_chars))
            else:
                self._window.unlisted += 1


def _subject(tenant: str, kind: Kind) -> str:
    """Of calls only those to the hub, in whose process the tap is. A tap on all of them would be a responder to calls
    that nobody answers: their callers would wait for their deadline and not hear at once that nobody listens."""
    return subjects.call_filter(tenant, subjects.HUB) if kind == "call" else subjects.every(tenant, kind)


class _Listener:
    """One kind's subscription and its credit."""

    def __init__(self, kind: Kind, subject: str, client: Client, take: Callable[[_Listener, Msg], None]) -> None:
        self.kind = kind
        self._subject, self._client, self._take = subject, client, take
        self._subscription: Subscription | None = None
        self._limit = 0
        self._former_limits: set[int] = set()
        self.count = 0
        self._last_at = 0.0
        self.mean_bytes = 500.0

    @property
    def exhausted(self) -> bool:
        """The server has stopped sending, because all credit is used."""
        return self._subscription is not None and self._subscription.delivered >= self._limit

    def heard(self, size: int) -> None:
        self.count += 1
        self.mean_bytes += (size - self.mean_bytes) / 16
        self._last_at = time.monotonic()

    def listened_s(self, window: Window) -> float:
        end = self._last_at if self.exhausted and self._last_at > window.started_at else window.ended_at
        return max(end - window.started_at, 0.001)

    async def renew(self, credit: int) -> None:
        """Let ``credit`` more messages come."""
        self.count = 0
        subscription = self._subscription
        # Raising a limit that the server has just reached is in vain: it has dropped the subscription by then,
        # and what it delivered ends exactly at a limit we once set.
        if subscription is None or self.exhausted or subscription.delivered in self._former_limits:
            await self._open(credit)
        elif subscription.delivered + credit > self._limit:
            self._former_limits = {n for n in self._former_limits if n > subscription.delivered} | {self._limit}
            self._limit = subscription.delivered + credit
            await subscription.unsubscribe(self._limit)

    async def _open(self, credit: int) -> None:
        async def take(message: Msg) -> None:
            self._take(self, message)

        if self._subscription is not None and not self.exhausted:
            await self._subscription.unsubscribe()
        self._former_limits.clear()
        self._limit = credit
        self._subscription = await self._client.subscribe(self._subject, cb=take)
        await self._subscription.unsubscribe(credit)
