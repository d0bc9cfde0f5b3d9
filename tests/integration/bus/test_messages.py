"""Direct messages: stored, in order per sender, retried, dead-lettered, never twice."""

from __future__ import annotations

import asyncio
import threading

import pytest

from box_agent.bus.received import Message
from schemas import envelope as envelopes
from schemas import subjects
from schemas.errors import AlreadyExists, InvalidInput, InvalidSubject
from tests.integration.bus.agents import Agents, Seen, data_of, eventually


async def test_a_message_arrives_with_its_attributes(agents: Agents) -> None:
    planner, coder = await agents("planner"), await agents("coder")
    seen = Seen(lambda m: m)
    await coder.on_message(seen)
    sent = await planner.send_message(
        coder, {"text": "hello"}, correlation_id="c1", causation_id="x1", reply_to="reviewer", branch="b1"
    )
    (message,) = await seen.wait(1)
    assert isinstance(message, Message)
    assert (message.id, message.sender, message.data) == (sent, "planner", {"text": "hello"})
    assert (message.correlation_id, message.causation_id, message.branch) == ("c1", "x1", "b1")
    assert (message.reply_to, message.deliveries, message.redelivered) == ("reviewer", 1, False)


@pytest.mark.parametrize("data", [None, 0, "", [], {"a": [1.5, None, "ü"]}, b"\x00\xff bytes", "x" * 100_000])
async def test_data_survives(agents: Agents, data: object) -> None:
    one = await agents("one")
    seen = Seen(data_of)
    await one.on_message(seen)
    await one.send_message("one", data)
    assert await seen.wait(1) == [data]


async def test_mail_waits_for_a_box_that_is_away(agents: Agents) -> None:
    planner = await agents("planner")
    for number in range(10):
        await planner.send_message("coder", number)
    coder = await agents("coder")
    seen = Seen(data_of)
    await coder.on_message(seen)
    assert await seen.wait(10) == list(range(10))


async def test_the_same_id_is_the_same_message(agents: Agents) -> None:
    planner, coder = await agents("planner"), await agents("coder")
    seen = Seen(data_of)
    await coder.on_message(seen)
    for _ in range(3):
        assert await planner.send_message("coder", "first", id="order-1") == "order-1"
    await planner.send_message("coder", "last")
    assert await seen.wait(2) == ["first", "last"]


async def test_an_id_belongs_to_its_sender_and_receiver(agents: Agents) -> None:
    planner, coder, tester = await agents("planner"), await agents("coder"), await agents("tester")
    seen = {agent.address: Seen(lambda m: (m.sender, m.data)) for agent in (coder, tester)}
    for agent in (coder, tester):
        await agent.on_message(seen[agent.address])
    await planner.send_message("coder", 1, id="same")
    await planner.send_message("tester", 2, id="same")
    await tester.send_message("coder", 3, id="same")
    assert sorted(await seen["coder"].wait(2)) == [("planner", 1), ("tester", 3)]
    assert await seen["tester"].wait(1) == [("planner", 2)]


async def test_order_per_sender_holds_while_a_handler_fails(agents: Agents) -> None:
    coder = await agents("coder")
    senders = [await agents(f"sender-{n}") for n in range(4)]
    tries: dict[tuple[str, int], int] = {}
    done: dict[str, list[int]] = {sender.address: [] for sender in senders}
    finished = asyncio.Event()

    async def handler(message: Message) -> None:
        key = (message.sender, message.data)
        tries[key] = tries.get(key, 0) + 1
        assert message.deliveries == tries[key]
        assert message.redelivered == (tries[key] > 1)
        if message.data % 3 == 0 and tries[key] < 3:
            raise RuntimeError("not yet")
        done[message.sender].append(message.data)
        if sum(map(len, done.values())) == 80:
            finished.set()

    await coder.on_message(handler)
    for number in range(20):
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(sender.send_message("coder", number))
    await asyncio.wait_for(finished.wait(), 20)
    assert all(numbers == list(range(20)) for numbers in done.values())


async def test_a_slow_sender_does_not_hold_up_another(agents: Agents) -> None:
    coder, slow, quick = await agents("coder"), await agents("slow"), await agents("quick")
    gate = asyncio.Event()
    seen = Seen(lambda m: (m.sender, m.data))

    async def handler(message: Message) -> None:
        if message.sender == "slow":
            await gate.wait()
        await seen(message)

    await coder.on_message(handler)
    await slow.send_message("coder", 0)
    for number in range(5):
        await quick.send_message("coder", number)
    assert await seen.wait(5) == [("quick", n) for n in range(5)]
    gate.set()
    assert (await seen.wait(6))[-1] == ("slow", 0)


async def test_what_no_handler_takes_becomes_a_dead_letter_with_its_causes(agents: Agents) -> None:
    planner, coder = await agents("planner"), await agents("coder")
    seen = Seen(data_of)

    async def handler(message: Message) -> None:
        if message.data == "poison":
            raise ValueError(f"try {message.deliveries}")
        await seen(message)

    await coder.on_message(handler, max_deliver=3)
    sent = await planner.send_message("coder", "poison", correlation_id="c7")
    await planner.send_message("coder", "fine")
    assert await seen.wait(1) == ["fine"]  # behind the poison in its lane, so that is through
    (letter,) = await planner.dead_letters("coder")
    assert letter.box == "coder"
    assert letter.subject == subjects.inbox(agents.tenant, "coder", "planner")
    assert (letter.envelope["id"], letter.envelope["data"], letter.envelope["correlationid"]) == (sent, "poison", "c7")
    assert letter.cause.code == "handler_failed"
    assert letter.cause.message == "ValueError: try 3"
    assert "raise ValueError" in letter.cause.details["traceback"]
    assert [cause.message for cause in letter.causes] == ["ValueError: try 1", "ValueError: try 2"]
    assert letter.deliveries == 3
    assert "test_what_no_handler_takes" in letter.handler
    assert await planner.dead_letters("planner") == []


async def test_redrive_reaches_the_handler_once_more(agents: Agents) -> None:
    planner, coder = await agents("planner"), await agents("coder")
    mended = False
    seen = Seen(lambda m: (m.id, m.data, m.sender))

    async def handler(message: Message) -> None:
        if not mended:
            raise ValueError("broken")
        await seen(message)

    await coder.on_message(handler, max_deliver=1)
    sent = await planner.send_message("coder", {"order": 1})
    (letter,) = await eventually(planner.dead_letters)
    mended = True
    await planner.redrive(letter.sequence)
    assert await seen.wait(1) == [(sent, {"order": 1}, "planner")]
    assert await planner.dead_letters() == []


async def test_dead_letters_are_listed_oldest_first_per_box_and_in_bounds(agents: Agents) -> None:
    planner = await agents("planner")

    async def refuse(message: Message) -> None:
        raise ValueError(message.data)

    for name in ("one", "two"):
        await (await agents(name)).on_message(refuse, max_deliver=1)
        for number in range(3):
            await planner.send_message(name, number)
    await eventually(lambda: _count(planner, 6))
    assert [letter.envelope["data"] for letter in await planner.dead_letters("two")] == [0, 1, 2]
    assert len(await planner.dead_letters(limit=4)) == 4
    sequences = [letter.sequence for letter in await planner.dead_letters()]
    assert sequences == sorted(sequences)


async def _count(agent: object, count: int) -> bool:
    return len(await agent.dead_letters()) == count  # type: ignore[attr-defined]


async def test_bytes_that_are_no_envelope_become_a_dead_letter(agents: Agents) -> None:
    coder = await agents("coder")
    seen = Seen(data_of)
    await coder.on_message(seen)
    subject = subjects.inbox(agents.tenant, "coder", "intruder")
    await coder.publisher.publish("inbox", subject, b"\xff not json", "raw-1")
    await coder.publisher.publish("inbox", subject, b'{"specversion":"1.0"}', "raw-2")
    await coder.send_message("coder", "fine")
    assert await seen.wait(1) == ["fine"]
    letters = await eventually(lambda: _letters(coder, 2))
    assert {letter.cause.code for letter in letters} == {"malformed_envelope"}
    await eventually(lambda: _drained(coder))


async def _letters(agent: object, count: int) -> object:
    letters = await agent.dead_letters()  # type: ignore[attr-defined]
    return letters if len(letters) == count else None


async def _drained(agent: object) -> bool:
    from box_agent.bus.jetstream import api

    stream = subjects.stream_name(agent.tenant, "inbox")  # type: ignore[attr-defined]
    info = await api(agent.connection, f"STREAM.INFO.{stream}")  # type: ignore[attr-defined]
    return bool(info["state"]["messages"] == 0)


async def test_a_forged_source_is_replaced_by_what_the_subject_proves(agents: Agents) -> None:
    mallory, coder = await agents("mallory"), await agents("coder")
    seen = Seen(lambda m: (m.sender, m.envelope.source))
    await coder.on_message(seen)
    forged = envelopes.make(envelopes.MESSAGE, subjects.source(agents.tenant, "planner"), "do it")
    subject = subjects.inbox(agents.tenant, "coder", "mallory")
    await mallory.publisher.publish("inbox", subject, envelopes.encode(forged), "forged")
    assert await seen.wait(1) == [("mallory", subjects.source(agents.tenant, "mallory"))]


async def test_a_plain_function_runs_in_a_thread(agents: Agents) -> None:
    coder = await agents("coder")
    threads: list[str] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def handler(message: Message) -> None:
        threads.append(threading.current_thread().name)
        loop.call_soon_threadsafe(done.set)

    await coder.on_message(handler)
    await coder.send_message("coder")
    await asyncio.wait_for(done.wait(), 10)
    assert threads
    assert threads[0] != threading.main_thread().name


async def test_one_handler_per_inbox(agents: Agents) -> None:
    coder = await agents("coder")
    subscription = await coder.on_message(Seen(data_of))
    with pytest.raises(AlreadyExists, match="coder"):
        await coder.on_message(Seen(data_of))
    await subscription.aclose()
    seen = Seen(data_of)
    await coder.on_message(seen)
    await coder.send_message("coder", 1)
    assert await seen.wait(1) == [1]


async def test_instances_share_an_inbox(agents: Agents) -> None:
    planner, one, two = await agents("planner"), await agents("coder"), await agents("coder", prefetch=2)
    assert one.instance != two.instance
    seen = Seen(data_of)
    await one.on_message(seen)
    await two.on_message(seen)
    for number in range(50):
        await planner.send_message("coder", number)
    assert sorted(await seen.wait(50)) == list(range(50))


async def test_closing_gives_back_what_was_not_handled_at_once_and_in_order(agents: Agents) -> None:
    planner = await agents("planner")
    first = await agents("coder")
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(message: Message) -> None:
        begun.set()
        await gate.wait()

    await first.on_message(slow)
    for number in range(20):
        await planner.send_message("coder", number)
    await asyncio.wait_for(begun.wait(), 10)
    closing = asyncio.create_task(first.aclose())
    await asyncio.sleep(0)  # it has begun
    gate.set()  # the running one ends well, the others are never begun
    await closing
    second = await agents("coder")
    seen = Seen(data_of)
    await second.on_message(seen)
    assert await seen.wait(19, timeout_s=8) == list(range(1, 20))  # well before ack_wait


async def test_inbox_acknowledges_when_the_next_one_is_asked_for(agents: Agents) -> None:
    planner, coder = await agents("planner"), await agents("coder")
    for number in range(4):
        await planner.send_message("coder", number)
    got = []
    async for message in coder.inbox():
        got.append(message.data)
        if message.data == 2:
            break
    again = []
    async for message in coder.inbox():
        again.append((message.data, message.redelivered))
        if message.data == 3:
            break
    assert got == [0, 1, 2]
    assert again[0] == (2, True)  # left half-way
    assert again[-1][0] == 3


@pytest.mark.parametrize("name", ["", "a b", "A", "x.y", "*", "a" * 64, "-x"])
async def test_what_cannot_be_an_address_is_refused(agents: Agents, name: str) -> None:
    one = await agents("one")
    with pytest.raises(InvalidSubject):
        await one.send_message(name, 1)


@pytest.mark.parametrize("id", ["a b", "a\r\nb", "ü", "x" * 201])
async def test_what_cannot_be_an_id_is_refused(agents: Agents, id: str) -> None:
    one = await agents("one")
    with pytest.raises(InvalidInput):
        await one.send_message("one", 1, id=id)
