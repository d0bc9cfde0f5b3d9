"""A hub with its gateway in this process, a shop on its bus, and an HTTP client with the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from box_agent.agent import Agent
from box_agent.box.context import Context
from box_agent.config import AgentSettings
from hub.app import Hub
from hub.config import HubSettings
from tests.servers.nats import NatsServer

TOKEN = "test-token"


@pytest.fixture
def settings(shared_nats_server: NatsServer, tenant: str, tmp_path: Path) -> HubSettings:
    return HubSettings.model_validate(
        {
            "home": tmp_path,
            "nats_url": shared_nats_server.url,
            "tenants": (tenant,),
            "gateway_port": 0,
            "token": TOKEN,
            "heartbeat_s": 0.2,
            "silent_s": 5.0,
        }
    )


@pytest.fixture
async def hub(settings: HubSettings) -> AsyncIterator[Hub]:
    async with Hub(settings) as hub:
        yield hub


@pytest.fixture
async def shop(shared_nats_server: NatsServer, tenant: str, hub: Hub) -> AsyncIterator[Agent]:
    """An attached agent ``shop`` the registry knows: buys at once, brews until cancelled."""
    settings = AgentSettings(nats_url=shared_nats_server.url, tenant=tenant, beat_s=0.2, close_timeout_s=1.0)
    async with await Agent.open("shop", url=shared_nats_server.url, tenant=tenant, settings=settings) as agent:

        @agent.skill
        async def buy(kind: str, cups: int = 1) -> dict[str, object]:
            """Buys coffee."""
            if kind == "tea":
                raise ValueError("no tea here")
            return {"kind": kind, "cups": cups}

        @agent.skill
        async def brew(context: Context) -> str:
            """Takes for ever."""
            context.progress(0.5, "brewing")
            await asyncio.Event().wait()
            return "never"

        registry = hub.services(tenant).registry
        async with asyncio.timeout(10):
            while not any(b.id == "shop" and len(b.skills) == 2 for b in await registry.boxes()):  # noqa: ASYNC110
                await asyncio.sleep(0)
        yield agent


@pytest.fixture
async def http(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=hub.gateway_url, headers=headers, timeout=20, trust_env=False) as client:
        yield client
