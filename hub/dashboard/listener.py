"""One core subscription that the server ends when its credit is used."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

_SMOOTHING: Final = 16
_RENEW_BELOW: Final = 0.75
"""A limit is raised when less than this part of the credit is left, so an idle subscription costs nothing."""


class Listener:
    """``take`` says of each message whether it counts. Nothing arrives before the first `renew`."""

    def __init__(self, client: Client, subject: str, take: Callable[[Msg], bool]) -> None:
        self._client, self._subject, self._take = client, subject, take
        self._subscription: Subscription | None = None
        self._limit = 0
        self._delivered = -1
        self._former_limits: set[int] = set()
        self._last_at = 0.0
        self.count = 0
        """Messages that counted since the last `renew`."""
        self.mean_bytes = 500.0

    @property
    def exhausted(self) -> bool:
        """The server has stopped sending, because all credit is used."""
        return self._subscription is not None and self._subscription.delivered >= self._limit

    def listened_s(self, since: float, until: float) -> float:
        """For how long of that time the server was sending; never zero."""
        if self.exhausted and self._last_at > since:
            until = self._last_at
        return max(until - since, 0.001)

    async def renew(self, credit: int) -> None:
        """Let ``credit`` more messages come. Raises nats-py's errors when the connection is closed for good."""
        self.count = 0
        subscription = self._subscription
        if subscription is None or self.exhausted:
            await self._open(credit)
            return
        delivered, before, self._delivered = subscription.delivered, self._delivered, subscription.delivered
        # Raising a limit that the server has just reached is in vain: it has dropped the subscription by then, and
        # what it delivered stands still exactly at a limit that was once set.
        if delivered == before and delivered in self._former_limits:
            await self._open(credit)
        elif self._limit - delivered < credit * _RENEW_BELOW:
            self._former_limits = {n for n in self._former_limits if n >= delivered} | {self._limit}
            self._limit = delivered + credit
            await subscription.unsubscribe(self._limit)

    async def _open(self, credit: int) -> None:
        async def take(message: Msg) -> None:
            self._last_at = time.monotonic()
            self.mean_bytes += (len(message.data) - self.mean_bytes) / _SMOOTHING
            self.count += self._take(message)

        if self._subscription is not None and not self.exhausted:
            await self._subscription.unsubscribe()
        self._former_limits.clear()
        self._delivered = -1
        self._limit = credit
        self._subscription = await self._client.subscribe(self._subject, cb=take)
        await self._subscription.unsubscribe(credit)
