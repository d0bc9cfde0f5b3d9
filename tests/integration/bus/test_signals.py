"""Signals: whoever listens now, at most once, never at the cost of anything durable."""

from __future__ import annotations

import asyncio

import pytest

from schemas.errors import InvalidInput, PayloadTooLarge
from tests.integration.bus.agents import Agents, Seen, data_of, eventually


async def test_signals_reach_all_handlers_of_all_listeners(agents: Agents) -> None:
    one, two = await agents("one"), await agents("two")
    seen = [Seen(lambda s: (s.name, s.sender, s.data)) for _ in range(3)]
    await one.on_signal("progress.*", seen[0])
    await one.on_signal("progress.*", seen[1])
    await two.on_signal("progress.>", seen[2])
    one.publish_signal("progress.build", {"percent": 3})
    for handler in seen:
        assert await handler.wait(1) == [("progress.build", "one", {"percent": 3})]


async def test_signals_come_in_order_and_can_be_narrowed_to_a_sender(agents: Agents) -> None:
    one, two = await agents("one"), await agents("two")
    seen = Seen(data_of)
    await one.on_signal("n", seen, sender="two")
    one.publish_signal("n", "not this")
    for number in range(2000):
        two.publish_signal("n", number)
    assert await seen.wait(2000) == list(range(2000))


async def test_one_subscription_at_the_server_however_many_handlers(agents: Agents) -> None:
    one = await agents("one")
    before = len(one.connection._subscriptions)
    subscriptions = [await one.on_signal("n", Seen(data_of)) for _ in range(5)]
    assert len(one.connection._subscriptions) == before + 1
    for subscription in subscriptions:
        await subscription.aclose()
    assert len(one.connection._subscriptions) == before


async def test_closing_one_handler_leaves_the_others(agents: Agents) -> None:
    one = await agents("one")
    gone, stays = Seen(data_of), Seen(data_of)
    first = await one.on_signal("n", gone)
    await one.on_signal("n", stays)
    await first.aclose()
    one.publish_signal("n", 1)
    assert await stays.wait(1) == [1]
    assert gone.items == []


async def test_a_slow_handler_loses_signals_is_reported_and_bothers_nobody(agents: Agents) -> None:
    one = await agents("one", signal_backlog=10)
    gate = asyncio.Event()
    quick, durable = Seen(data_of), Seen(data_of)
    got: list[int] = []

    async def slow(signal: object) -> None:
        await gate.wait()
        got.append(signal.data)  # type: ignore[attr-defined]

    await one.on_signal("n", slow)
    await one.on_signal("n", quick)
    await one.on_message(durable)
    for number in range(100):
        one.publish_signal("n", number)
        await one.send_message("one", number)
    assert await quick.wait(100) == list(range(100))
    assert await durable.wait(100) == list(range(100))
    dropped = one.connection.faults.counts["signal_dropped"]
    assert dropped >= 85
    gate.set()
    await eventually(lambda: len(got) == 100 - dropped)
    assert got == list(range(len(got)))  # the newest were dropped


async def test_a_handler_that_raises_is_reported_and_gets_the_next(agents: Agents) -> None:
    one = await agents("one")
    seen = Seen(data_of)

    async def handler(signal: object) -> None:
        await seen(signal)
        raise ValueError("no")

    await one.on_signal("n", handler)
    one.publish_signal("n", 1)
    one.publish_signal("n", 2)
    assert await seen.wait(2) == [1, 2]
    await eventually(lambda: one.connection.faults.counts["signal_handler_failed"] == 2)


async def test_malformed_signals_are_reported(agents: Agents) -> None:
    from schemas import subjects

    one = await agents("one")
    seen = Seen(data_of)
    await one.on_signal("n", seen)
    one.connection.send(subjects.signal(agents.tenant, "one", "n"), b"no envelope")
    one.publish_signal("n", 1)
    assert await seen.wait(1) == [1]
    assert one.connection.faults.counts["malformed_signal"] == 1


async def test_refusals(agents: Agents) -> None:
    one = await agents("one")
    with pytest.raises(PayloadTooLarge):
        one.publish_signal("n", "x" * 2_000_000)
    with pytest.raises(InvalidInput):
        one.publish_signal("a b")
    with pytest.raises(InvalidInput):
        one.publish_signal("n", object())
