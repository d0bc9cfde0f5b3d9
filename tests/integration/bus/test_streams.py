"""Streams are made by whoever needs them first."""

from __future__ import annotations

import asyncio

from box_agent.bus.jetstream import find_or_create
from schemas.ids import new_id
from tests.integration.bus.agents import Agents


async def test_many_may_make_one_at_once(agents: Agents) -> None:
    connections = [(await agents(f"agent-{n}")).connection for n in range(8)]
    for _ in range(10):  # the race is short
        name = new_id("stream")
        config = {"name": name, "subjects": [f"{name}.>"], "storage": "memory", "max_bytes": 1024}
        found = await asyncio.gather(*(find_or_create(connection, config) for connection in connections))
        assert {stream["config"]["name"] for stream in found} == {name}
