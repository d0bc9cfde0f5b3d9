"""Streams are made by whoever needs them first."""

from __future__ import annotations

import asyncio

from box_agent.bus.connection import Connection
from box_agent.bus.jetstream import STREAM_NOT_FOUND, JetStreamError, find_or_create, next_message
from schemas.ids import new_id
from tests.integration.bus.agents import Agents


async def test_many_may_make_one_at_once(agents: Agents) -> None:
    connections = [(await agents(f"agent-{n}")).connection for n in range(8)]
    for _ in range(10):  # the race is short
        name = new_id("stream")
        config = {"name": name, "subjects": [f"{name}.>"], "storage": "memory", "max_bytes": 1024}
        found = await asyncio.gather(*(find_or_create(connection, config) for connection in connections))
        assert {stream["config"]["name"] for stream in found} == {name}


async def test_one_that_is_being_made_may_be_read(agents: Agents) -> None:
    """A server before 2.10 ended when it was asked for a message of a stream that had no store yet."""
    makers = [(await agents(f"maker-{n}")).connection for n in range(2)]
    readers = [(await agents(f"reader-{n}")).connection for n in range(4)]
    for _ in range(60):
        name = new_id("stream")
        config = {"name": name, "subjects": [f"{name}.>"], "storage": "file", "max_bytes": 1024}
        made = asyncio.gather(*(find_or_create(connection, config) for connection in makers))
        while not made.done():
            assert set(await asyncio.gather(*(read(connection, name) for connection in readers))) == {None}
        await made


async def read(connection: Connection, stream: str) -> object:
    try:
        return await next_message(connection, stream, f"{stream}.>", 1)
    except JetStreamError as error:
        assert error.api_code == STREAM_NOT_FOUND  # noqa: PT017 - it may be, or not
        return None
