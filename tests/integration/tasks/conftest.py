"""A hub's task engine on a real nats-server and a real SQLite file, and agents to run tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from box_agent.agent import Agent
from tests.integration.tasks.hub import TaskHub, connect, task_hub
from tests.servers.nats import NatsServer

Join = Callable[..., Awaitable[Agent]]


@pytest.fixture
async def hub(shared_nats_server: NatsServer, tenant: str, tmp_path: Path) -> AsyncIterator[TaskHub]:
    async with task_hub(shared_nats_server.url, tenant, tmp_path) as running:
        yield running


@pytest.fixture
async def join(shared_nats_server: NatsServer, tenant: str) -> AsyncIterator[Join]:
    """``await join("worker", attempts=4)`` is an attached agent, closed after the test."""
    async with AsyncExitStack() as agents:

        async def attach(name: str, **settings: Any) -> Agent:
            return await agents.enter_async_context(await connect(name, shared_nats_server.url, tenant, **settings))

        yield attach
