"""Dead letters: what no handler could take, with its causes; listed and redriven."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec

from box_agent.bus.consumers import digest
from box_agent.bus.jetstream import DELETE_FAILED, STREAM_NOT_FOUND, JetStreamError, api, stored_message
from schemas import envelope as envelopes
from schemas import subjects
from schemas.deadletter import DeadLetter
from schemas.errors import ErrorInfo, NotFound
from schemas.model import timestamp

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection
    from box_agent.bus.lanes import Held
    from box_agent.bus.publisher import Publisher
    from box_agent.bus.streams import Kind, Streams

_REDRIVE = "!redrive/"
"""Starts the Nats-Msg-Id of a redriven message; no name may contain ``!``. Then the consumer, then the dead letter."""
_MARK = f"Nats-Msg-Id: {_REDRIVE}".encode()


def for_another(headers: bytes | None, consumer: str) -> bool:
    """A redriven event that only another consumer, the one that gave up on it, shall get."""
    if headers is None or _MARK not in headers:
        return False
    return b"%b%b/" % (_MARK, consumer.encode()) not in headers


class Burial:
    """Stores the dead letters of one consumer. The same message is stored once, however often it is tried."""

    def __init__(self, publisher: Publisher, tenant: str, box: str, consumer: str, handler: str) -> None:
        self._publisher = publisher
        self._tenant = tenant
        self._box = box
        self._consumer = consumer
        self._handler = handler

    async def bury(self, item: Held, cause: ErrorInfo, causes: list[ErrorInfo]) -> None:
        delivered = item.delivered
        await self.store(delivered.subject, delivered.sequence, delivered.data, item.received.deliveries, cause, causes)

    async def store(
        self,
        subject: bytes,
        sequence: int,
        body: bytes,
        deliveries: int,
        cause: ErrorInfo,
        causes: list[ErrorInfo],
    ) -> None:
        """Returns when it is stored. Raises `BusUnavailable`."""
        letter = DeadLetter(
            box=self._box,
            subject=subject.decode("utf-8", "replace"),
            handler=f"{self._consumer} {self._handler}",
            envelope=_as_json(body),
            deliveries=deliveries,
            cause=cause,
            causes=causes,
            at=timestamp(),
        )
        content = self._fitting(letter)
        message_id = f"{self._consumer}/{sequence}/{digest(subject.decode('utf-8', 'replace'), str(len(body)))}"
        await self._publisher.publish("dead", subjects.dead(self._tenant, self._box), content, message_id)

    def _fitting(self, letter: DeadLetter) -> bytes:
        """The letter as an envelope; when the causes make it too large, their tracebacks go."""
        for candidate in (letter, _without_tracebacks(letter)):
            wrapped = envelopes.make(envelopes.DEAD_LETTER, subjects.source(self._tenant, self._box), candidate.wire())
            content = envelopes.encode(wrapped)
            if len(content) <= self._publisher.max_bytes:
                break
        return content


class DeadLetters:
    """Reads and redrives the dead letters of a tenant."""

    def __init__(self, connection: Connection, streams: Streams, publisher: Publisher, tenant: str) -> None:
        self._connection = connection
        self._streams = streams
        self._publisher = publisher
        self._tenant = tenant
        self._stream = subjects.stream_name(tenant, "dead")

    async def list(self, box: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The oldest ``limit`` of them, of one box or of all. One request to the server for each."""
        subject = subjects.dead(self._tenant, box) if box else subjects.every(self._tenant, "dead")
        letters: list[DeadLetter] = []
        sequence = 1
        while len(letters) < limit:
            found = await self._stored({"seq": sequence, "next_by_subj": subject})
            if found is None:
                break
            letters.append(_opened(found))
            sequence = letters[-1].sequence + 1
        return letters

    async def get(self, sequence: int) -> DeadLetter:
        """Raises `NotFound`."""
        found = await self._stored({"seq": sequence})
        if found is None:
            raise NotFound(f"no dead letter {sequence}; it was redriven, removed or never there")
        return _opened(found)

    async def redrive(self, sequence: int) -> int:
        """Publish it again where it was published first, and remove the dead letter; the new stream sequence.

        Only the consumer that gave up gets it. The removal comes after the message is stored: killed in between,
        a second redrive within the duplicate window stores nothing new, and later one hands it over twice.
        """
        letter = await self.get(sequence)
        parsed = subjects.parse(letter.subject)
        kind: Kind = "event" if parsed.kind == "event" else "inbox"
        consumer = letter.handler.split(" ", 1)[0]
        ack = await self._publisher.publish(
            kind, letter.subject, _as_bytes(letter.envelope), f"{_REDRIVE}{consumer}/{sequence}"
        )
        await self.remove(sequence)
        return ack.seq

    async def remove(self, sequence: int) -> None:
        """Harmless when it is gone."""
        try:
            await api(self._connection, f"STREAM.MSG.DELETE.{self._stream}", {"seq": sequence})
        except JetStreamError as error:
            if error.api_code not in (DELETE_FAILED, STREAM_NOT_FOUND):  # the former is what it says of one not there
                raise

    async def _stored(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return await stored_message(self._connection, self._stream, wanted)
        except JetStreamError as error:
            if error.api_code != STREAM_NOT_FOUND:  # made with the first letter
                raise
            return None


def _opened(message: dict[str, Any]) -> DeadLetter:
    wrapped = envelopes.decode(base64.b64decode(message.get("data", "")))
    return DeadLetter.model_validate({**wrapped.data, "sequence": message["seq"]})


def _as_json(body: bytes) -> dict[str, Any]:
    """The original's JSON; bytes that are none are kept as they are."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {"data_base64": base64.b64encode(body).decode(), "malformed": True}


def _as_bytes(original: dict[str, Any]) -> bytes:
    if original.get("malformed") is True:
        return base64.b64decode(original["data_base64"])
    return msgspec.json.encode(original)


def _without_tracebacks(letter: DeadLetter) -> DeadLetter:
    def short(info: ErrorInfo) -> ErrorInfo:
        return info.model_copy(update={"message": info.message[:2000], "details": {}})

    return letter.model_copy(
        update={"cause": short(letter.cause), "causes": [short(cause) for cause in letter.causes[-3:]]}
    )
