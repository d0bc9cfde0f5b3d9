"""What handlers get: `Message`, `Event`, `Signal`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from schemas import subjects
from schemas.envelope import Envelope
from schemas.errors import InvalidSubject
from schemas.subjects import Subject


class Received:
    """An envelope and who really sent it: ``sender`` comes from the subject, which the server guards."""

    __slots__ = ("envelope", "name", "sender")

    def __init__(self, envelope: Envelope, subject: Subject) -> None:
        self.envelope = envelope
        self.sender = subject.sender
        self.name = subject.name

    @property
    def id(self) -> str:
        return self.envelope.id

    @property
    def data(self) -> Any:
        """Any JSON value, or bytes."""
        return self.envelope.payload

    @property
    def time(self) -> str | None:
        """When it was sent, RFC 3339."""
        return self.envelope.time

    @property
    def correlation_id(self) -> str | None:
        return self.envelope.correlationid

    @property
    def causation_id(self) -> str | None:
        return self.envelope.causationid

    @property
    def branch(self) -> str | None:
        return self.envelope.branch

    def __repr__(self) -> str:
        what = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{what} {self.id} from {self.sender!r}>"


class Stored(Received):
    """From a stream. ``deliveries`` counts how often it was handed over, this time included.

    ``redelivered``: a handler may have begun with it before (it failed, or its process died half-way).
    """

    __slots__ = ("deliveries", "sequence")

    def __init__(self, envelope: Envelope, subject: Subject, sequence: int, deliveries: int) -> None:
        super().__init__(envelope, subject)
        self.sequence = sequence
        self.deliveries = deliveries

    @property
    def redelivered(self) -> bool:
        return self.deliveries > 1


class Message(Stored):
    """A direct message to this box."""

    __slots__ = ()

    @property
    def reply_to(self) -> str:
        """The address an answer should go to; the sender, unless it said otherwise."""
        return self.envelope.replyto or self.sender


class Event(Stored):
    """A stored event; ``name`` is what it was published as."""

    __slots__ = ()


class Signal(Received):
    """An event that is not stored; ``name`` is what it was published as."""

    __slots__ = ()


@lru_cache(maxsize=16384)
def origin(subject: bytes) -> tuple[Subject, str]:
    """A received subject parsed, with the CloudEvents source it proves. Raises `InvalidSubject`."""
    parsed = subjects.parse(subject.decode("utf-8", "replace"))
    return parsed, subjects.source(parsed.tenant, parsed.sender) if parsed.sender else ""


def sender_of(subject: bytes) -> str:
    """Who published on ``subject``; empty when it is none of ours."""
    try:
        return origin(subject)[0].sender
    except InvalidSubject:
        return ""


def proved(envelope: Envelope, source: str) -> Envelope:
    """The envelope with the source that the subject proves, in place of what its sender wrote."""
    return envelope if envelope.source == source else msgspec.structs.replace(envelope, source=source)
