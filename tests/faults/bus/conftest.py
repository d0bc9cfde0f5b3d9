"""Agents on a nats-server of the test's own, which it may kill; and agents in processes it may kill."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.bus.processes import Processes
from tests.integration.bus.agents import Agents
from tests.servers.nats import NatsServer


@pytest.fixture
async def agents(nats_server: NatsServer, tenant: str) -> AsyncIterator[Agents]:
    async with Agents(nats_server.url, tenant) as agents:
        yield agents


@pytest.fixture
async def processes(nats_server: NatsServer, tenant: str) -> AsyncIterator[Processes]:
    async with Processes(nats_server.url, tenant) as processes:
        yield processes
