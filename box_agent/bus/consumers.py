"""Making and finding JetStream consumers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from box_agent.bus.jetstream import CONSUMER_NOT_FOUND, JetStreamError, api

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection

_MAX_ACK_PENDING = 8192


@dataclass(frozen=True, slots=True)
class Start:
    """Where a new consumer begins: at ``sequence``, at epoch second ``since``, with the first or the next message."""

    sequence: int | None = None
    since: float | None = None
    first: bool = False

    def config(self) -> dict[str, Any]:
        if self.sequence is not None:
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, self.sequence)}
        if self.since is not None:
            at = datetime.fromtimestamp(self.since, UTC).isoformat().replace("+00:00", "Z")
            return {"deliver_policy": "by_start_time", "opt_start_time": at}
        return {"deliver_policy": "all" if self.first else "new"}


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A pull consumer. Durable ones ack explicitly; the others live in the server's memory and ack nothing."""

    stream: str
    name: str
    filter: str
    start: Start
    durable: bool = True
    ack_wait_s: float = 15.0
    inactive_s: float | None = None

    def config(self, start: Start | None = None) -> dict[str, Any]:
        config: dict[str, Any] = {
            "filter_subject": self.filter,
            "replay_policy": "instant",
            **(start or self.start).config(),
        }
        if self.durable:
            config |= {
                "durable_name": self.name,
                "ack_policy": "explicit",
                "ack_wait": int(self.ack_wait_s * 1e9),
                "max_deliver": -1,  # tries are counted here, and the last one becomes a dead letter
                "max_ack_pending": _MAX_ACK_PENDING,
            }
        else:
            config |= {"name": self.name, "ack_policy": "none", "mem_storage": True}
        if self.inactive_s is not None:
            config["inactive_threshold"] = int(self.inactive_s * 1e9)
        return config


async def ensure(connection: Connection, spec: ConsumerSpec, *, resume: Start | None = None) -> dict[str, Any]:
    """The consumer's info. An existing durable continues where it was: ``start`` is for a new one only.

    ``resume`` is where to go on when the server has lost it since.
    """
    try:
        return await api(connection, f"CONSUMER.INFO.{spec.stream}.{spec.name}")
    except JetStreamError as error:
        if error.api_code != CONSUMER_NOT_FOUND:
            raise
    verb = "CONSUMER.DURABLE.CREATE" if spec.durable else "CONSUMER.CREATE"
    request = {"stream_name": spec.stream, "config": spec.config(resume)}
    try:
        return await api(connection, f"{verb}.{spec.stream}.{spec.name}", request)
    except JetStreamError as refused:
        try:  # another member of the group was faster, with another start
            return await api(connection, f"CONSUMER.INFO.{spec.stream}.{spec.name}")
        except JetStreamError:
            raise refused from None


async def delete(connection: Connection, stream: str, name: str) -> None:
    """Remove it; harmless when it is gone."""
    try:
        await api(connection, f"CONSUMER.DELETE.{stream}.{name}", timeout_s=2.0)
    except JetStreamError as error:
        if error.api_code != CONSUMER_NOT_FOUND:
            raise


def digest(*parts: str) -> str:
    """Twelve hex digits that stand for ``parts`` in a consumer's name."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
