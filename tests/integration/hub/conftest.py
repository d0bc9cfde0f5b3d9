"""A hub in this process, on a real nats-server, with a store of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from box_agent.agent import Agent
from box_agent.config import AgentSettings
from hub.app import Hub
from hub.config import HubSettings
from tests.servers.nats import NatsServer


@pytest.fixture
def hub_settings(shared_nats_server: NatsServer, tenant: str, tmp_path: Path) -> Callable[..., HubSettings]:
    """Settings of a hub for this test's tenant; fields may be given."""

    def make(**fields: Any) -> HubSettings:
        given = {
            "home": tmp_path,
            "nats_url": shared_nats_server.url,
            "tenants": (tenant,),
            "gateway": False,
            "heartbeat_s": 0.2,
            "silent_s": 1.0,
        }
        return HubSettings.model_validate({**given, **fields})

    return make


@pytest.fixture
async def hub(hub_settings: Callable[..., HubSettings]) -> AsyncIterator[Hub]:
    async with Hub(hub_settings()) as hub:
        yield hub


class Join(Protocol):
    async def __call__(self, name: str, **fields: Any) -> Agent: ...


@pytest.fixture
async def join(shared_nats_server: NatsServer, tenant: str) -> AsyncIterator[Join]:
    """Agents on the bus of this test's tenant; closed at its end."""
    async with AsyncExitStack() as exits:

        async def make(name: str, **fields: Any) -> Agent:
            settings = AgentSettings(nats_url=shared_nats_server.url, tenant=tenant, beat_s=0.2, close_timeout_s=1.0)
            agent = await Agent.open(name, url=shared_nats_server.url, tenant=tenant, settings=settings, **fields)
            return await exits.enter_async_context(agent)

        yield make
