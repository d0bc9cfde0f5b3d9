"""nats-server is killed and restarted with its store: nothing acknowledged is lost, nothing is handled twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from box_agent.bus.received import Event, Message
from schemas.errors import BusUnavailable
from tests.integration.bus.agents import Agents, Seen, data_of, eventually
from tests.servers.nats import NatsServer


async def test_publishing_goes_on_over_two_restarts(nats_server: NatsServer, agents: Agents) -> None:
    shop, reader = await agents("shop"), await agents("reader")
    handled: Counter[int] = Counter()
    order: list[int] = []
    confirmed: list[int] = []
    enough = asyncio.Event()

    async def on_event(event: Event) -> None:
        handled[event.data] += 1
        order.append(event.data)

    await reader.on_event("e", on_event)

    async def publish() -> None:
        number = 0
        while not enough.is_set() or number < 200:
            await shop.publish_event("e", number)
            confirmed.append(number)
            number += 1

    async def restart() -> None:
        for already in (50, 100):
            await eventually(lambda already=already: len(confirmed) >= already)  # type: ignore[misc]
            await nats_server.kill()
            await nats_server.restart()
        enough.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        group.create_task(restart())
    await eventually(lambda: len(handled) == len(confirmed))
    assert confirmed == list(range(len(confirmed)))
    assert set(handled.values()) == {1}, "a handler saw an event twice"
    assert order == sorted(order)


async def test_many_at_once_over_a_restart_are_stored_once(nats_server: NatsServer, agents: Agents) -> None:
    senders = [await agents(f"sender-{n}") for n in range(4)]
    coder = await agents("coder")
    handled: Counter[tuple[str, int]] = Counter()

    async def on_message(message: Message) -> None:
        handled[message.sender, message.data] += 1

    await coder.on_message(on_message)

    async def flood() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(250):
                for sender in senders:
                    group.create_task(sender.send_message("coder", number))

    flooding = asyncio.create_task(flood())
    await eventually(lambda: len(handled) > 20)
    await nats_server.kill()
    await nats_server.restart()
    await flooding
    await eventually(lambda: len(handled) == 1000)
    assert set(handled.values()) == {1}


async def test_what_was_being_handled_is_acknowledged_after_the_restart(
    nats_server: NatsServer, agents: Agents
) -> None:
    """Handlers run on while the server is away; their acknowledgements, and new mail, follow."""
    planner, coder = await agents("planner"), await agents("coder", ack_wait_s=3)
    gate, begun = asyncio.Event(), asyncio.Event()
    seen = Seen(lambda m: (m.data, m.deliveries))

    async def on_message(message: Message) -> None:
        begun.set()
        if message.data == 0:
            await gate.wait()
        await seen(message)

    await coder.on_message(on_message)
    for number in range(5):
        await planner.send_message("coder", number)
    await asyncio.wait_for(begun.wait(), 5)
    await nats_server.kill()
    await nats_server.restart()
    await eventually(lambda: coder.connection.connected and planner.connection.connected)
    gate.set()
    await planner.send_message("coder", 5)
    assert [data for data, _ in await seen.wait(6)] == list(range(6))
    await asyncio.sleep(4)  # past ack_wait: an acknowledgement that was lost would bring it back
    assert len(seen.items) == 6


@pytest.mark.parametrize("durable", [True, False])
async def test_subscriptions_come_back(nats_server: NatsServer, agents: Agents, durable: bool) -> None:
    one = await agents("one")
    events, signals = Seen(data_of), Seen(data_of)
    await one.on_event("e", events, durable=durable)
    await one.on_signal("s", signals)
    await one.publish_event("e", 0)
    await events.wait(1)
    for round in range(1, 4):
        await nats_server.kill()
        await nats_server.restart()
        await one.publish_event("e", round)
        assert await events.wait(round + 1) == list(range(round + 1))
        one.publish_signal("s", round)
        assert (await signals.wait(round))[-1] == round


async def test_a_server_that_is_back_without_its_store_gets_its_streams_again(
    nats_server: NatsServer, agents: Agents
) -> None:
    import shutil

    one = await agents("one")
    mail, events = Seen(data_of), Seen(data_of)
    await one.on_message(mail)
    await one.on_event("e", events)
    await one.send_message("one", "before")
    await mail.wait(1)
    await nats_server.kill()
    await asyncio.to_thread(shutil.rmtree, nats_server.store_dir)
    await nats_server.restart()
    await one.send_message("one", "after")
    assert await mail.wait(2) == ["before", "after"]
    # the durable is made again behind what was seen; only what is published once it is there can be promised
    await eventually(lambda: _published(one, events))


async def _published(agent: object, events: Seen[object]) -> bool:
    await agent.publish_event("e", "after")  # type: ignore[attr-defined]
    return bool(events.items)


async def test_calls_and_streams_work_again(nats_server: NatsServer, agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")
    gate = asyncio.Event()

    @server.skill
    async def echo(n: int) -> int:
        return n

    @server.skill
    async def slow() -> str:
        await gate.wait()
        return "done"

    @server.skill
    async def count() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    across = asyncio.create_task(caller.call("server", "slow"))
    await eventually(lambda: server.serving.calls == 1)
    await nats_server.kill()
    during = asyncio.create_task(caller.call("server", "echo", 7))  # waits for the server within its deadline
    await nats_server.restart()
    await eventually(lambda: caller.connection.connected and server.connection.connected)
    gate.set()
    assert await across == "done"
    assert [n async for n in caller.stream("server", "count")] == list(range(100))
    assert await caller.call("server", "echo", 1) == 1
    await asyncio.wait({during})


async def test_a_publish_gives_up_in_time_when_the_server_stays_away(nats_server: NatsServer, agents: Agents) -> None:
    one = await agents("one", publish_timeout_s=1.0)
    await one.publish_event("e", 0)
    await nats_server.kill()
    began = time.monotonic()
    with pytest.raises(BusUnavailable, match="not confirmed"):
        await one.publish_event("e", 1)
    with pytest.raises(BusUnavailable):
        await one.call("one", "x", timeout_s=0.5)
    assert 1.0 <= time.monotonic() - began < 6
    await nats_server.restart()
    await eventually(lambda: one.connection.connected)
    assert await one.publish_event("e", 2) > 1


async def test_a_paused_server_delays_and_loses_nothing(nats_server: NatsServer, agents: Agents) -> None:
    one = await agents("one", ack_timeout_s=0.5, ping_interval_s=0.5)
    seen = Seen(data_of)
    await one.on_message(seen)
    await one.send_message("one", 0)
    await seen.wait(1)
    nats_server.pause()
    sending = asyncio.create_task(one.send_message("one", 1))
    await eventually(lambda: one.connection.faults.counts["publish_retried"] >= 1)
    nats_server.resume()
    await sending
    await one.send_message("one", 2)
    assert await seen.wait(3) == [0, 1, 2]
