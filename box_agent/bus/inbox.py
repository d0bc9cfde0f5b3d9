"""Direct messages: the one durable inbox of a box."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from box_agent.bus.consumers import ConsumerSpec, Start
from box_agent.bus.dead_letters import Burial
from box_agent.bus.delivery import Delivery
from box_agent.bus.lanes import Lanes
from box_agent.bus.received import Message, origin, proved
from schemas import envelope as envelopes
from schemas import subjects
from schemas.errors import InvalidSubject

if TYPE_CHECKING:
    from box_agent.bus.blobrefs import BlobRefs
    from box_agent.bus.connection import Connection
    from box_agent.bus.publisher import Publisher
    from box_agent.bus.pull import Delivered
    from box_agent.bus.streams import Streams


def decode_message(delivered: Delivered) -> Message:
    """Raises `MalformedEnvelope` or `InvalidSubject`."""
    subject, source = origin(delivered.subject)
    if subject.kind != "inbox":
        raise InvalidSubject(f"{delivered.subject!r} is no inbox")
    envelope = proved(envelopes.decode(delivered.data), source)
    return Message(envelope, subject, delivered.sequence, delivered.deliveries)


def consumer_name(box: str) -> str:
    return f"inbox-{subjects.token(box)}"


async def open_inbox(
    connection: Connection,
    streams: Streams,
    publisher: Publisher,
    refs: BlobRefs,
    *,
    tenant: str,
    box: str,
    handler: Callable[[Any], Awaitable[Any]],
    name: str,
    max_deliver: int,
    on_closed: Callable[[Delivery], None],
) -> Delivery:
    """Hand every message for ``box`` to ``handler``. All instances of the box share the inbox."""
    consumer = consumer_name(box)
    spec = ConsumerSpec(
        stream=await streams.ensure("inbox"),
        name=consumer,
        filter=subjects.inbox_filter(tenant, box),
        start=Start(first=True),
        ack_wait_s=connection.settings.ack_wait_s,
    )
    burial = Burial(publisher, tenant, box, consumer, name)
    lanes = Lanes(
        connection, handler, burial, max_deliver=max_deliver, complete=lambda received: completing(refs, received)
    )
    delivery = Delivery(connection, streams, "inbox", spec, lanes, burial, decode_message, on_closed=on_closed)
    await delivery.start()
    return delivery


def completing(refs: BlobRefs, received: Any) -> Awaitable[None] | None:
    """What to await before ``received`` has its data; ``None`` when it is there."""
    fetching = refs.resolve(received.envelope)
    if fetching is None:
        return None

    async def complete() -> None:
        received.envelope = await fetching

    return complete()


class InboxReader:
    """The inbox as an async iterator: a message is acknowledged when the next one is asked for."""

    def __init__(self) -> None:
        self._offered: asyncio.Queue[tuple[Message, asyncio.Future[None]]] = asyncio.Queue(maxsize=1)
        self._open: set[asyncio.Future[None]] = set()

    async def handle(self, message: Message) -> None:
        """The inbox's handler: returns when the reader is through with the message."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.add(done)
        try:
            await self._offered.put((message, done))
            await done
        finally:
            self._open.discard(done)

    async def messages(self) -> AsyncIterator[Message]:
        while True:
            message, done = await self._offered.get()
            yield message
            if not done.done():
                done.set_result(None)

    def abandon(self) -> None:
        """The reader left: what it did not finish is not acknowledged."""
        for done in self._open:
            done.cancel()
