"""The async API: `connect`, and every verb with the same name as in the sync one."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from box_agent.agent import Agent
from box_agent.bus.received import Event, Message, Signal

if TYPE_CHECKING:
    from box_agent.config import AgentSettings

__all__ = ["Agent", "Connecting", "Event", "Message", "Signal", "connect"]


class Connecting:
    """What `connect` gives: ``agent = await connect(...)``, or ``async with connect(...) as agent``."""

    def __init__(self, name: str, url: str | None, tenant: str | None, settings: AgentSettings | None) -> None:
        self._name = name
        self._url = url
        self._tenant = tenant
        self._settings = settings
        self._agent: Agent | None = None

    def __await__(self) -> Generator[Any, None, Agent]:
        return self._open().__await__()

    async def __aenter__(self) -> Agent:
        self._agent = await self._open()
        return self._agent

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._agent is not None
        await self._agent.aclose()

    async def _open(self) -> Agent:
        from box_agent.config import AgentSettings
        from box_agent.discovery import discover

        settings = self._settings or AgentSettings()
        found = await asyncio.to_thread(discover, self._url, settings)
        tenant = self._tenant or found.tenant or settings.tenant
        return await Agent.open(self._name, url=found.url, tenant=tenant, settings=settings)


def connect(
    name: str, *, url: str | None = None, tenant: str | None = None, settings: AgentSettings | None = None
) -> Connecting:
    """Join the bus as ``name``; the `Agent`, once awaited.

    The bus is at ``url``, else at ``BOXHUB_NATS_URL``, else where a hub on this machine runs, else a private one is
    started for the life of this process. Raises `BusUnavailable`, `Unauthenticated`, `InvalidInput`.
    """
    return Connecting(name, url, tenant, settings)
