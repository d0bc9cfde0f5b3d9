"""Stored events: subscriptions that remember where they were, groups, replay."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from box_agent.bus.consumers import ConsumerSpec, Start, digest
from box_agent.bus.dead_letters import Burial
from box_agent.bus.delivery import Delivery
from box_agent.bus.inbox import completing
from box_agent.bus.lanes import Lanes
from box_agent.bus.received import Event, origin, proved
from schemas import envelope as envelopes
from schemas import subjects
from schemas.errors import InvalidInput, InvalidSubject
from schemas.ids import check_name, new_id

if TYPE_CHECKING:
    from box_agent.bus.blobrefs import BlobRefs
    from box_agent.bus.connection import Connection
    from box_agent.bus.publisher import Publisher
    from box_agent.bus.pull import Delivered
    from box_agent.bus.streams import Streams
    from schemas.envelope import Envelope
    from schemas.subjects import Subject

_CACHED = 1024


class Events:
    """Subscribes one agent to events. Each event's envelope is decoded once, however many subscriptions get it."""

    def __init__(
        self,
        connection: Connection,
        streams: Streams,
        publisher: Publisher,
        refs: BlobRefs,
        tenant: str,
        box: str,
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._publisher = publisher
        self._refs = refs
        self._tenant = tenant
        self._box = box
        self._decoded: OrderedDict[int, tuple[Envelope, Subject]] = OrderedDict()
        self._in_use: set[str] = set()

    async def subscribe(
        self,
        pattern: str,
        handler: Callable[[Any], Awaitable[Any]],
        name: str,
        *,
        group: str | None,
        since: datetime | float | None,
        from_sequence: int | None,
        durable: bool,
        max_deliver: int,
        on_closed: Callable[[Delivery], None],
    ) -> Delivery:
        """See `Agent.on_event`."""
        if group is not None and not durable:
            raise InvalidInput("a group is shared by its members, so it is durable; leave out durable=False")
        if since is not None and from_sequence is not None:
            raise InvalidInput("give since or from_sequence, not both")
        if isinstance(since, datetime):
            since = since.timestamp()
        spec = ConsumerSpec(
            stream=await self._streams.ensure("event"),
            name=self._consumer(pattern, group, durable),
            filter=subjects.event_filter(self._tenant, pattern),
            start=Start(sequence=from_sequence, since=since),
            durable=durable,
            ack_wait_s=self._connection.settings.ack_wait_s,
            # one that nobody reads for as long as events are kept has nothing left to give
            inactive_s=self._connection.settings.events_max_age_s if durable else 60.0,
        )
        self._in_use.add(spec.name)

        def closed(delivery: Delivery) -> None:
            self._in_use.discard(spec.name)
            on_closed(delivery)

        burial = Burial(self._publisher, self._tenant, self._box, spec.name, name)
        lanes = Lanes(
            self._connection,
            handler,
            burial,
            max_deliver=max_deliver,
            acks=durable,
            lane_of=(lambda received: received.sender) if durable else (lambda received: ""),
            complete=lambda received: completing(self._refs, received),
        )
        delivery = Delivery(
            self._connection,
            self._streams,
            "event",
            spec,
            lanes,
            burial,
            self._decode,
            ordered=group is None,
            on_closed=closed,
        )
        try:
            await delivery.start()
        except BaseException:
            self._in_use.discard(spec.name)
            raise
        return delivery

    def _consumer(self, pattern: str, group: str | None, durable: bool) -> str:
        """Deterministic, so that the same subscription of the next process goes on where this one stops."""
        if not durable:
            return new_id("eph")
        if group is not None:
            return f"events-group-{check_name(group, 'group')}-{digest(pattern)}"
        stem = f"events-{self._box}-{digest(pattern)}"
        return next(name for n in itertools.count(1) if (name := f"{stem}-{n}") not in self._in_use)

    def _decode(self, delivered: Delivered) -> Event:
        known = self._decoded.get(delivered.sequence)
        if known is None:
            subject, source = origin(delivered.subject)
            if subject.kind != "event":
                raise InvalidSubject(f"{delivered.subject!r} is no event")
            known = (proved(envelopes.decode(delivered.data), source), subject)
            self._decoded[delivered.sequence] = known
            if len(self._decoded) > _CACHED:
                self._decoded.popitem(last=False)
        return Event(known[0], known[1], delivered.sequence, delivered.deliveries)
