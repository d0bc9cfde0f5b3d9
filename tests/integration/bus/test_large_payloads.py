"""What is too large for the bus travels as a blob, through the real hub; without a hub it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.app import Hub
from hub.config import HubSettings
from schemas.errors import PayloadTooLarge
from tests.integration.bus.agents import MIB, Agents, Seen, data_of, eventually
from tests.servers.nats import NatsServer

LARGE = "x" * (3 * MIB)


@pytest.fixture
async def hub(shared_nats_server: NatsServer, tenant: str, tmp_path: Path) -> AsyncIterator[Hub]:
    settings = HubSettings(nats_url=shared_nats_server.url, tenants=(tenant,), home=tmp_path, gateway=False)
    async with Hub(settings) as running:
        yield running


@pytest.mark.parametrize("data", [LARGE, {"deep": [LARGE]}, LARGE.encode()], ids=["text", "nested", "bytes"])
async def test_messages(hub: Hub, agents: Agents, data: object) -> None:
    one = await agents("one")
    seen = Seen(data_of)
    await one.on_message(seen)
    await one.send_message("one", data)
    assert await seen.wait(1) == [data]


async def test_events(hub: Hub, agents: Agents) -> None:
    one, two = await agents("one"), await agents("two")
    seen = Seen(data_of)
    await one.on_event("e", seen)
    await two.on_event("e", seen, durable=False)
    await one.publish_event("e", LARGE)
    assert await seen.wait(2) == [LARGE, LARGE]


async def test_calls_both_ways_and_streams(hub: Hub, agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def twice(text: str) -> str:
        return text + text

    @server.skill
    async def pieces(n: int) -> AsyncIterator[str]:
        for _ in range(n):
            yield LARGE

    assert await caller.call("server", "twice", LARGE) == LARGE + LARGE
    assert [len(piece) async for piece in caller.stream("server", "pieces", 3)] == [len(LARGE)] * 3


async def test_tasks(hub: Hub, agents: Agents) -> None:
    planner, worker = await agents("planner"), await agents("worker")

    @worker.skill
    async def repeat(text: str) -> str:
        return text

    task = await planner.delegate("worker", "repeat", {"text": LARGE})
    assert await task.result(timeout_s=30) == LARGE


async def test_a_blob_of_many_chunks(hub: Hub, agents: Agents) -> None:
    one = await agents("one")
    data = bytes(range(256)) * 4 * 4096 + b"tail"
    digest = await one.blobs.put(data)
    assert await one.blobs.missing([digest, "0" * 64]) == ["0" * 64]
    assert await one.blobs.get(digest) == data
    assert await one.blobs.get(await one.blobs.put(b"")) == b""


async def test_without_a_hub_the_cure_is_said(agents: Agents) -> None:
    one = await agents("one")
    with pytest.raises(PayloadTooLarge, match="boxhub up"):
        await one.send_message("one", LARGE)
    with pytest.raises(PayloadTooLarge):
        one.publish_signal("s", LARGE)


async def test_just_below_the_limit_it_goes_and_can_be_buried(agents: Agents) -> None:
    """A dead letter carries the whole message and its causes, and still has to fit."""
    one = await agents("one")
    text = "y" * (one.connection.max_payload - 400)

    async def refuse(message: object) -> None:
        raise ValueError("z" * 50_000)

    await one.on_message(refuse, max_deliver=2)
    await one.send_message("one", text)
    (letter,) = await eventually(one.dead_letters)
    assert letter.envelope["data"] == text
    assert letter.cause.code == "handler_failed"
