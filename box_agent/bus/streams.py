"""The JetStream streams of a tenant, made when first needed and never altered or removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from box_agent.bus.jetstream import JetStreamError, find_or_create
from schemas import subjects
from schemas.errors import Conflict

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection
    from box_agent.config import AgentSettings

Kind = Literal["inbox", "event", "report", "dead"]


def stream_config(kind: Kind, tenant: str, settings: AgentSettings) -> dict[str, Any]:
    """What a stream of ours looks like. Mail for absent boxes and unread reports stay until they are acked."""
    config: dict[str, Any] = {
        "name": subjects.stream_name(tenant, kind),
        "subjects": [subjects.every(tenant, kind)],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "num_replicas": 1,
        "max_msgs": -1,
        "max_consumers": -1,
        "duplicate_window": _ns(settings.duplicate_window_s),
        "allow_direct": True,
    }
    match kind:
        case "inbox":
            # A full inbox stream refuses new mail; it never drops what it accepted.
            config |= {"retention": "workqueue", "discard": "new", "max_bytes": settings.inbox_max_bytes}
        case "report":
            config |= {"retention": "workqueue", "discard": "new", "max_bytes": settings.reports_max_bytes}
        case "event":
            config |= {"max_age": _ns(settings.events_max_age_s), "max_bytes": settings.events_max_bytes}
        case "dead":
            config |= {"max_age": _ns(settings.dead_max_age_s), "max_bytes": settings.dead_max_bytes}
    return config


class Streams:
    """Ensures each stream once per connection; `forget` after the server lost one."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant
        self._ready: set[Kind] = set()
        self._lock = asyncio.Lock()

    async def ensure(self, kind: Kind) -> str:
        """The stream's name, once it exists. An existing one is taken as it is if it stores our subjects.

        Raises `Conflict` when a stream of that name stores something else, or another one our subjects.
        """
        name = subjects.stream_name(self._tenant, kind)
        if kind in self._ready:
            return name
        async with self._lock:
            if kind not in self._ready:
                await self._find_or_make(kind, name)
                self._ready.add(kind)
        return name

    def forget(self, kind: Kind) -> None:
        """Look again at the next need."""
        self._ready.discard(kind)

    async def _find_or_make(self, kind: Kind, name: str) -> None:
        wanted = stream_config(kind, self._tenant, self._connection.settings)
        try:
            found = await find_or_create(self._connection, wanted)
        except JetStreamError as refused:
            raise Conflict(f"stream {name} cannot be made: {refused}") from refused
        self._check(found["config"], wanted)

    def _check(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        for field in ("subjects", "retention"):
            if found.get(field) != wanted[field]:
                raise Conflict(
                    f"stream {wanted['name']} exists with {field} {found.get(field)!r}, this version needs "
                    f"{wanted[field]!r}; use another tenant, or remove the stream if it is not in use"
                )


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
