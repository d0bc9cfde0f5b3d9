"""Agents on a shared nats-server, each test in a tenant of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.bus.agents import Agents
from tests.servers.nats import NatsServer


@pytest.fixture
async def agents(shared_nats_server: NatsServer, tenant: str) -> AsyncIterator[Agents]:
    """Makes agents; all are closed at the end."""
    async with Agents(shared_nats_server.url, tenant) as agents:
        yield agents
