"""Durable publish: returns when the server has stored the message, retrying with the same id until then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from box_agent.bus.replies import Answer, status_of
from box_agent.bus.trace import header_block
from schemas.errors import BusUnavailable, Conflict, Overloaded

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection
    from box_agent.bus.streams import Kind, Streams

_PAUSE_S = 0.1


class _Refusal(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct):
    """The server's confirmation; ``duplicate``: a message with that id was stored before, at ``seq``."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


_decode_ack = msgspec.json.Decoder(PubAck).decode
_FULL = (10077, 10047, 10023, 10122)  # max messages/bytes exceeded, insufficient resources, storage


class _Reconnected(Exception):
    """The connection came back: what was under way may be lost."""


class Publisher:
    """Many publishes may be under way at once; ``max_publishes`` bounds them."""

    def __init__(self, connection: Connection, streams: Streams) -> None:
        self._connection = connection
        self._streams = streams
        self._under_way: set[Answer] = set()
        self._slots = asyncio.Semaphore(connection.settings.max_publishes)
        connection.on_reconnect.append(self._resend)

    @property
    def max_bytes(self) -> int:
        """What one publish may carry at most."""
        return self._connection.hard_max_payload

    async def publish(self, kind: Kind, subject: str, body: bytes, message_id: str) -> PubAck:
        """Stored exactly once within the duplicate window, whatever happens to the connection meanwhile.

        Raises `BusUnavailable` after ``publish_timeout_s`` without a confirmation (it may be stored all the
        same; publish again with the same id), `Overloaded` when the stream is full, `PayloadTooLarge`. Cancelled,
        it may or may not be stored.
        """
        await self._streams.ensure(kind)
        async with self._slots:
            return await self._until_stored(kind, subject, body, message_id)

    async def _until_stored(self, kind: Kind, subject: str, body: bytes, message_id: str) -> PubAck:
        connection = self._connection
        settings = connection.settings
        headers = header_block(message_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.publish_timeout_s
        left = settings.publish_timeout_s
        while left > 0:
            try:
                ack = await self._once(subject, body, headers, min(settings.ack_timeout_s, left))
            except _Reconnected:
                ack = None
            except TimeoutError:
                connection.faults.report("publish_retried", subject=subject)
                ack = None
            if ack is None:
                pass
            elif ack.error is None:
                return ack
            elif not await self._may_retry(kind, ack.error, subject):
                break
            left = deadline - loop.time()
        raise BusUnavailable(
            f"{subject} was not confirmed as stored within {settings.publish_timeout_s:g} s",
            subject=subject,
            message_id=message_id,
        )

    async def _once(self, subject: str, body: bytes, headers: bytes | None, timeout_s: float) -> PubAck:
        """One try."""
        connection = self._connection
        if not connection.connected:
            try:
                await connection.wait_connected(timeout_s)
            except BusUnavailable:
                if connection.closed:
                    raise
                raise TimeoutError from None
        if connection.unsent_bytes() > 1_000_000:
            await connection.writable()
        answer = Answer(connection.replies)
        self._under_way.add(answer)
        try:
            connection.send(subject, body, answer.subject, headers, alone=connection.replies.single)
            data, status = await answer.within(timeout_s)
        finally:
            self._under_way.discard(answer)
            answer.forget()
        if status is not None and status_of(status) == 503:
            return _NO_STREAM
        ack: PubAck = _decode_ack(data)
        return ack

    async def _may_retry(self, kind: Kind, refusal: _Refusal, subject: str) -> bool:
        """Look at why it was refused: raise what waiting cannot mend, else pause."""
        if refusal.err_code in _FULL:
            raise Overloaded(f"{subject}: the stream takes no more: {refusal.description}", subject=subject)
        if refusal.code not in (0, 503):
            raise Conflict(f"{subject}: refused by JetStream: {refusal.description}", api_code=refusal.err_code)
        self._streams.forget(kind)
        await asyncio.sleep(_PAUSE_S)
        if self._connection.connected:
            await self._streams.ensure(kind)
        return True

    def _resend(self) -> None:
        for answer in list(self._under_way):
            answer.fail(_Reconnected())


_NO_STREAM = PubAck(error=_Refusal(code=503, description="no stream answers"))
