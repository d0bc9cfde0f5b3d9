"""Signals: events over core NATS, at most once. One subscription per pattern, decoded once for all its handlers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from box_agent.bus.received import Signal, origin, proved
from box_agent.bus.scope import Scope
from schemas import envelope as envelopes
from schemas import subjects
from schemas.errors import InvalidInput

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection, DirectSubscription


class SignalSubscription:
    """One handler's queue: signals are handed over one at a time, in order of arrival.

    A handler that falls behind by ``signal_backlog`` loses the newest (counted as ``signal_dropped`` and logged now
    and then); others, and everything durable, are not touched by it.
    """

    def __init__(self, connection: Connection, handler: Callable[[Any], Awaitable[Any]], name: str) -> None:
        self._connection = connection
        self._handler = handler
        self._name = name
        self._limit = connection.settings.signal_backlog
        self._waiting: deque[Signal] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._scope = Scope()
        self._scope.spawn(self._run(), f"signals {name}")
        self.on_closed: Callable[[SignalSubscription], Awaitable[None]] | None = None

    def push(self, signal: Signal) -> None:
        if len(self._waiting) >= self._limit:
            self._connection.faults.report("signal_dropped", handler=self._name, signal=signal.name)
            return
        self._waiting.append(signal)
        idle = self._idle
        if idle is not None:
            self._idle = None
            if not idle.done():
                idle.set_result(None)

    def freeze(self) -> None:
        """What waits is dropped; `aclose` follows."""
        self._waiting.clear()

    async def aclose(self) -> None:
        """Signals that still wait are dropped. Harmless twice."""
        if self._scope.closing:
            return
        if self.on_closed is not None:
            await self.on_closed(self)
        await self._scope.aclose()

    async def _run(self) -> None:
        waiting, handler = self._waiting, self._handler
        while True:
            while waiting:
                signal = waiting.popleft()
                try:
                    await handler(signal)
                except Exception as error:  # noqa: BLE001 - counted and logged: a signal has no second delivery
                    self._connection.faults.report(
                        "signal_handler_failed", handler=self._name, signal=signal.name, error=repr(error)
                    )
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle


class _Pattern:
    """The NATS subscription of one pattern and the handlers that share it."""

    def __init__(self) -> None:
        self.subscriptions: list[SignalSubscription] = []
        self.nats: DirectSubscription | None = None


class Signals:
    """The signals of one agent."""

    def __init__(self, connection: Connection, tenant: str, box: str) -> None:
        self._connection = connection
        self._tenant = tenant
        self._source = subjects.source(tenant, box)
        self._prefix = subjects.signal(tenant, box, "x")[:-1]
        self._patterns: dict[str, _Pattern] = {}
        self._lock = asyncio.Lock()

    def publish(self, name: str, data: Any) -> None:
        """See `Agent.publish_signal`."""
        body = envelopes.encode(envelopes.make(envelopes.SIGNAL, self._source, data))
        self._connection.send(self._prefix + subjects.event_name(name), body)

    async def subscribe(
        self, pattern: str, handler: Callable[[Any], Awaitable[Any]], name: str, sender: str = "*"
    ) -> SignalSubscription:
        """Signals published from now on that match. ``sender`` narrows it to one box."""
        subject = subjects.signal_filter(self._tenant, pattern, sender)
        subscription = SignalSubscription(self._connection, handler, name)
        async with self._lock:
            entry = self._patterns.setdefault(subject, _Pattern())
            entry.subscriptions.append(subscription)
            subscription.on_closed = lambda closed: self._remove(subject, closed)
            if entry.nats is None:
                entry.nats = await self._connection.subscribe(subject, self._dispatcher(entry.subscriptions))
                await self._connection.flush(self._connection.settings.connect_timeout_s)
        return subscription

    async def _remove(self, subject: str, closed: SignalSubscription) -> None:
        async with self._lock:
            entry = self._patterns.get(subject)
            if entry is None or closed not in entry.subscriptions:
                return
            entry.subscriptions.remove(closed)
            if not entry.subscriptions:
                del self._patterns[subject]
                if entry.nats is not None and not self._connection.closed:
                    await entry.nats.aclose()

    def _dispatcher(
        self, subscriptions: list[SignalSubscription]
    ) -> Callable[[bytes, bytes, bytes, bytes | None], None]:
        faults = self._connection.faults
        decode = envelopes.decode

        def dispatch(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
            try:
                parsed, source = origin(subject)
                envelope = decode(data)
            except InvalidInput as error:
                faults.report("malformed_signal", subject=subject.decode("utf-8", "replace"), error=str(error))
                return
            if envelope.source != source:
                envelope = proved(envelope, source)
            signal = Signal(envelope, parsed)
            for subscription in subscriptions:
                subscription.push(signal)

        return dispatch
