"""Stored events: wildcards, groups, replay, and subscriptions that go on where they were."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from box_agent.bus.received import Event
from schemas.errors import InvalidInput
from tests.integration.bus.agents import Agents, Seen, data_of, eventually


def name_of(event: Event) -> str:
    return event.name


async def test_an_event_reaches_every_subscriber_once(agents: Agents) -> None:
    shop = await agents("shop")
    readers = [await agents(f"reader-{n}") for n in range(3)]
    seen = [Seen(lambda e: (e.name, e.sender, e.data, e.sequence)) for _ in readers]
    for reader, handler in zip(readers, seen, strict=True):
        await reader.on_event("order.paid", handler)
    sequence = await shop.publish_event("order.paid", {"n": 1})
    for handler in seen:
        assert await handler.wait(1) == [("order.paid", "shop", {"n": 1}, sequence)]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("order.paid", ["order.paid"]),
        ("order.*", ["order.paid", "order.sent"]),
        ("*.paid", ["order.paid", "bill.paid"]),
        ("order.>", ["order.paid", "order.sent", "order.item.added"]),
        (">", ["order.paid", "order.sent", "order.item.added", "bill.paid", "single"]),
        ("*", ["single"]),
    ],
)
async def test_wildcards(agents: Agents, pattern: str, matching: list[str]) -> None:
    one = await agents("one")
    seen = Seen(name_of)
    await one.on_event(pattern, seen)
    for name in ("order.paid", "order.sent", "order.item.added", "bill.paid", "single"):
        await one.publish_event(name)
    assert await seen.wait(len(matching)) == matching
    last = await one.publish_event(matching[0])  # nothing else came in between
    assert (await seen.wait(len(matching) + 1))[-1] == matching[0]
    assert last > 0


async def test_members_of_a_group_share(agents: Agents) -> None:
    shop = await agents("shop")
    members = [await agents(f"worker-{n}", prefetch=4) for n in range(3)]
    everyone = Seen(data_of)
    alone = Seen(data_of)
    for member in members:
        await member.on_event("job", everyone, group="workers")
    await members[0].on_event("job", alone)
    for number in range(60):
        await shop.publish_event("job", number)
    assert sorted(await everyone.wait(60)) == list(range(60))
    assert await alone.wait(60) == list(range(60))
    await shop.publish_event("job", 60)
    await alone.wait(61)
    assert len(await everyone.wait(61)) == 61


async def test_a_group_goes_on_when_a_member_leaves(agents: Agents) -> None:
    shop, one, two = await agents("shop"), await agents("one"), await agents("two")
    seen = Seen(data_of)
    first = await one.on_event("job", seen, group="g")
    await two.on_event("job", seen, group="g")
    await shop.publish_event("job", 0)
    await seen.wait(1)
    await first.aclose()
    for number in range(1, 10):
        await shop.publish_event("job", number)
    assert sorted(await seen.wait(10)) == list(range(10))


@pytest.mark.parametrize("durable", [True, False])
async def test_replay_from_a_sequence(agents: Agents, durable: bool) -> None:
    one = await agents("one")
    sequences = [await one.publish_event("e", number) for number in range(10)]
    seen = Seen(data_of)
    await one.on_event("e", seen, from_sequence=sequences[4], durable=durable)
    assert await seen.wait(6) == [4, 5, 6, 7, 8, 9]
    await one.publish_event("e", 10)
    assert (await seen.wait(7))[-1] == 10


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("as_datetime", [True, False])
async def test_replay_from_a_time(agents: Agents, durable: bool, as_datetime: bool) -> None:
    one = await agents("one")
    await one.publish_event("e", "old")
    since = time.time() + 0.05
    await asyncio.sleep(0.1)  # the clock is what is tested here
    await one.publish_event("e", "new")
    seen = Seen(data_of)
    start = datetime.fromtimestamp(since, UTC) if as_datetime else since
    await one.on_event("e", seen, since=start, durable=durable)
    assert await seen.wait(1) == ["new"]


@pytest.mark.parametrize("durable", [True, False])
async def test_without_a_start_only_what_comes_after(agents: Agents, durable: bool) -> None:
    one = await agents("one")
    await one.publish_event("e", "before")
    seen = Seen(data_of)
    await one.on_event("e", seen, durable=durable)
    await one.publish_event("e", "after")
    assert await seen.wait(1) == ["after"]


async def test_a_durable_subscription_goes_on_where_it_was(agents: Agents) -> None:
    shop = await agents("shop")
    first = await agents("reader")
    seen = Seen(data_of)
    await first.on_event("e", seen)
    await shop.publish_event("e", 0)
    await seen.wait(1)
    await first.aclose()
    for number in (1, 2):
        await shop.publish_event("e", number)
    again = await agents("reader")
    later = Seen(data_of)
    await again.on_event("e", later, from_sequence=1)  # a start is for new ones only
    assert await later.wait(2) == [1, 2]


async def test_two_subscriptions_to_the_same_pattern_are_two(agents: Agents) -> None:
    one = await agents("one")
    first, second = Seen(data_of), Seen(data_of)
    await one.on_event("e", first)
    await one.on_event("e", second)
    await one.publish_event("e", 1)
    assert await first.wait(1) == await second.wait(1) == [1]


async def test_an_ephemeral_subscription_is_gone_when_closed(agents: Agents) -> None:
    from box_agent.bus.jetstream import api
    from schemas import subjects

    one = await agents("one")
    stream = subjects.stream_name(agents.tenant, "event")
    seen = Seen(data_of)
    subscription = await one.on_event("e", seen, durable=False)
    await one.publish_event("e", 1)
    await seen.wait(1)
    assert (await api(one.connection, f"STREAM.INFO.{stream}"))["state"]["consumer_count"] == 1
    await subscription.aclose()
    assert (await api(one.connection, f"STREAM.INFO.{stream}"))["state"]["consumer_count"] == 0


async def test_a_failing_handler_is_retried_and_others_are_not_bothered(agents: Agents) -> None:
    one = await agents("one")
    good = Seen(data_of)
    tries: list[int] = []

    async def bad(event: Event) -> None:
        tries.append(event.deliveries)
        raise ValueError("no")

    await one.on_event("e", good)
    await one.on_event("e", bad, max_deliver=3)
    await one.publish_event("e", 1)
    assert await good.wait(1) == [1]
    (letter,) = await eventually(lambda: one.dead_letters("one"))
    assert tries == [1, 2, 3]
    assert letter.envelope["data"] == 1


async def test_a_redriven_event_reaches_only_the_subscription_that_gave_up(agents: Agents) -> None:
    one, other = await agents("one"), await agents("other")
    good = Seen(data_of)
    mended = False
    late = Seen(data_of)

    async def bad(event: Event) -> None:
        if not mended:
            raise ValueError("no")
        await late(event)

    await one.on_event("e", bad, max_deliver=1)
    await other.on_event("e", good)
    await one.publish_event("e", 1)
    (letter,) = await eventually(one.dead_letters)
    mended = True
    await one.redrive(letter.sequence)
    assert await late.wait(1) == [1]
    await one.publish_event("e", 2)
    assert await good.wait(2) == [1, 2]


async def test_many_subscriptions_decode_once(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    from schemas import envelope as envelopes

    one = await agents("one")
    seen = [Seen(data_of) for _ in range(8)]
    for handler in seen:
        await one.on_event("e", handler)
    decode, decoded = envelopes.decode, []

    def counting(body: bytes) -> envelopes.Envelope:
        envelope = decode(body)
        if envelope.type == envelopes.EVENT:
            decoded.append(envelope.id)
        return envelope

    monkeypatch.setattr(envelopes, "decode", counting)
    await one.publish_event("e", 1, id="x")
    for handler in seen:
        assert await handler.wait(1) == [1]
    assert decoded == ["x"]


@pytest.mark.parametrize("name", ["", "a..b", "a b", "a.*", ">", "a" * 65, ".".join("a" * 9)])
async def test_what_cannot_be_an_event_name_is_refused(agents: Agents, name: str) -> None:
    one = await agents("one")
    with pytest.raises(InvalidInput):
        await one.publish_event(name)


async def test_contradictions_are_refused(agents: Agents) -> None:
    one = await agents("one")
    with pytest.raises(InvalidInput, match="group"):
        await one.on_event("e", Seen(data_of), group="g", durable=False)
    with pytest.raises(InvalidInput, match="not both"):
        await one.on_event("e", Seen(data_of), since=1.0, from_sequence=1)
