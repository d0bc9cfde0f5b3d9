"""A real nats-server, a real hub and a real node, all in this process but the boxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from box_agent.agent import Agent
from box_agent.config import AgentSettings
from box_agent.node.config import NodeSettings
from box_agent.node.service import Node
from hub.app import Hub
from hub.config import HubSettings
from hub.tasks.settings import TaskSettings
from tests.servers.nats import NatsServer

QUICK = TaskSettings(lease_s=3.0, grace_s=0.2, scan_s=0.1, refused_wait_s=0.05, start_ack_s=5.0, poll_s=0.2)
"""Seconds where the defaults have tens of them."""

PLAIN: dict[str, Any] = {"beat_s": 0.2, "stop_grace_s": 0.5, "drivers": ("process",)}
"""Most of these tests look at what a skill does to files and processes of this machine; ``test_drivers`` does not."""

StartNode = Callable[..., Awaitable[Node]]


def agent_settings(url: str, tenant: str, **settings: Any) -> AgentSettings:
    return AgentSettings(nats_url=url, tenant=tenant, **({"beat_s": 0.2, "close_timeout_s": 2.0} | settings))


def hub_settings(url: str, tenant: str, home: Path) -> HubSettings:
    return HubSettings(
        nats_url=url, tenants=(tenant,), home=home, gateway=False, heartbeat_s=0.2, silent_s=3.0, tasks=QUICK
    )


@pytest.fixture
async def hub(shared_nats_server: NatsServer, tenant: str, tmp_path: Path) -> AsyncIterator[Hub]:
    async with Hub(hub_settings(shared_nats_server.url, tenant, tmp_path / "hub")) as running:
        yield running


@pytest.fixture
async def start_node(hub: Hub, shared_nats_server: NatsServer, tenant: str, tmp_path: Path) -> AsyncIterator[StartNode]:
    """``await start_node(max_boxes=2)`` is a node that serves, drained after the test."""
    async with AsyncExitStack() as nodes:

        async def start(name: str = "here", **settings: Any) -> Node:
            made = NodeSettings(name=name, home=tmp_path / name, **(PLAIN | settings))
            return await nodes.enter_async_context(Node(made, agent_settings(shared_nats_server.url, tenant)))

        yield start


@pytest.fixture
async def node(start_node: StartNode) -> Node:
    return await start_node()


@pytest.fixture
async def planner(hub: Hub, shared_nats_server: NatsServer, tenant: str) -> AsyncIterator[Agent]:
    settings = agent_settings(shared_nats_server.url, tenant)
    async with await Agent.open("planner", url=shared_nats_server.url, tenant=tenant, settings=settings) as agent:
        yield agent
