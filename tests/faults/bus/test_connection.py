"""The connection is cut, refused, or ended for good."""

from __future__ import annotations

import asyncio
import time

import pytest

from box_agent import aio
from box_agent.bus.client import Client
from schemas.errors import BusUnavailable, InvalidInput, Unauthenticated
from tests.integration.bus.agents import Agents, Seen, data_of, eventually, settings
from tests.servers.nats import NatsBinary, NatsServer


def transport(agent: aio.Agent) -> asyncio.Transport:
    return agent.connection._client._transport._io_writer.transport


def cut(agent: aio.Agent) -> None:
    """Take the socket away under the client."""
    transport(agent).abort()


async def test_a_cut_connection_comes_back_and_loses_nothing(agents: Agents) -> None:
    planner, coder = await agents("planner", ack_wait_s=2), await agents("coder", ack_wait_s=2)
    seen = Seen(data_of)
    await coder.on_message(seen)
    for number in range(60):
        if number % 20 == 10:
            cut(planner)
            cut(coder)
        await planner.send_message("coder", number)
    assert await seen.wait(60) == list(range(60))


async def test_what_was_on_its_way_when_the_connection_was_cut_keeps_its_place(agents: Agents) -> None:
    """The server has sent it and gives it out again after ``ack_wait_s`` only: its sender's younger mail waits."""
    planner, other = await agents("planner"), await agents("other")
    coder = await agents("coder", ack_wait_s=2)
    mail, events = Seen(lambda message: (message.sender, message.data)), Seen(data_of)
    await coder.on_message(mail)
    await coder.on_event("news", events, durable=False)
    await planner.send_message("coder", 0)
    await planner.publish_event("news", 0)
    await mail.wait(1)
    await events.wait(1)
    transport(coder).pause_reading()
    for number in (1, 2):
        await planner.send_message("coder", number)
        await planner.publish_event("news", number)
    cut(coder)
    await eventually(lambda: coder.connection.connected)
    for number in (3, 4):
        await planner.send_message("coder", number)
        await planner.publish_event("news", number)
    await other.send_message("coder", "unconcerned")
    assert await events.wait(5) == [0, 1, 2, 3, 4]
    assert await mail.wait(2) == [("planner", 0), ("other", "unconcerned")]
    assert await mail.wait(6) == [("planner", 0), ("other", "unconcerned"), *(("planner", n) for n in (1, 2, 3, 4))]


async def test_twice_cut_while_it_waits_for_what_was_lost(agents: Agents) -> None:
    planner, coder = await agents("planner"), await agents("coder", ack_wait_s=2)
    seen = Seen(data_of)
    await coder.on_message(seen)
    for first in (0, 3, 6):
        await eventually(lambda: coder.connection.connected)
        transport(coder).pause_reading()
        await planner.send_message("coder", first)
        cut(coder)
        await planner.send_message("coder", first + 1)
        await eventually(lambda: coder.connection.connected)
        await planner.send_message("coder", first + 2)
    assert await seen.wait(9) == list(range(9))
    await planner.send_message("coder", 9)
    assert await seen.wait(10, timeout_s=1) == list(range(10))


async def test_a_client_that_ends_for_good_is_rebuilt(agents: Agents) -> None:
    """As when its credentials expire: nats-py closes and never comes back by itself."""
    one = await agents("one")
    mail, signals = Seen(data_of), Seen(data_of)
    await one.on_message(mail)
    await one.on_signal("s", signals)

    @one.skill
    async def echo(n: int) -> int:
        return n

    ended = one.connection._client
    await ended.close()
    await eventually(lambda: one.connection.connected)
    assert one.connection._client is not ended
    await one.send_message("one", 1)
    assert await mail.wait(1) == [1]
    one.publish_signal("s", 2)
    assert await signals.wait(1) == [2]
    assert await one.call("one", "echo", 3) == 3
    assert one.connection.faults.counts["bus_client_rebuilt"] == 1


async def test_no_server_is_said_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(BusUnavailable, match="boxhub up"):
        await aio.connect("one", url="nats://127.0.0.1:1", settings=settings(connect_timeout_s=0.5))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["nats://", "http://127.0.0.1:1:2", "nats://127.0.0.1:port"])
async def test_what_is_no_url_is_said_so(url: str) -> None:
    with pytest.raises((InvalidInput, BusUnavailable)):
        await aio.connect("one", url=url, settings=settings(connect_timeout_s=0.5))


async def test_wrong_credentials_are_refused_at_once_without_showing_them(
    nats_binary: NatsBinary, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = 'authorization { user: "hub", password: "right" }'
    async with NatsServer(nats_binary, tmp_path_factory.mktemp("auth"), config=config) as server:
        address = server.url.removeprefix("nats://")
        began = time.monotonic()
        with pytest.raises(Unauthenticated) as refused:
            await aio.connect("one", url=f"nats://hub:wrong@{address}", settings=settings())
        assert time.monotonic() - began < 5
        assert "wrong" not in str(refused.value)
        async with aio.connect("one", url=f"nats://hub:right@{address}", settings=settings()) as one:
            await one.send_message("one", 1)


async def test_messages_queued_while_away_leave_afterwards(nats_server: NatsServer, agents: Agents) -> None:
    one, two = await agents("one"), await agents("two")
    seen = Seen(data_of)
    await two.on_signal("s", seen)
    await nats_server.kill()
    await eventually(lambda: not one.connection.connected)
    one.publish_signal("s", "queued")
    await nats_server.restart()
    await eventually(lambda: one.connection.connected and two.connection.connected)
    one.publish_signal("s", "after")
    await eventually(lambda: "after" in seen.items)  # the queued one may have left before the listener was back


async def test_a_closed_agent_leaves_no_task_and_no_socket(nats_server: NatsServer, tenant: str) -> None:
    before = asyncio.all_tasks()
    async with aio.connect("one", url=nats_server.url, tenant=tenant, settings=settings()) as one:
        await one.on_message(Seen(data_of))
        await one.on_event(">", Seen(data_of))
        await one.on_signal(">", Seen(data_of))
        await one.send_message("one", 1)
    await one.aclose()  # harmless twice
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_what_we_use_of_nats_py_is_there(nats_server: NatsServer) -> None:
    """`Client` relies on these; a nats-py that moved them must not be taken unseen."""
    client = Client()
    await client.connect(nats_server.url)
    got: list[tuple[bytes, bytes, bytes, bytes | None]] = []
    arrived = asyncio.Event()

    def callback(*message: object) -> None:
        got.append(message)  # type: ignore[arg-type]
        if len(got) == 2:
            arrived.set()

    sid = await client.subscribe_direct("a.*", callback)
    client.send("a.one", b"1", reply="b")
    client.send("a.two", b"2", headers=b"NATS/1.0\r\nX: y\r\n\r\n")
    await asyncio.wait_for(arrived.wait(), 5)
    assert got == [(b"a.one", b"b", b"1", None), (b"a.two", b"", b"2", b"NATS/1.0\r\nX: y\r\n\r\n")]
    await client.unsubscribe_direct(sid)
    assert client._subs == {}
    ordinary = await client.subscribe("c")
    client.send("c", b"3", alone=True)
    assert (await ordinary.next_msg(5)).data == b"3"
    await client.close()
