"""Calling skills: results, errors, deadlines, cancellation, streams."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import BaseModel

from box_agent.box.context import Context
from box_agent.bus.skills import CallInfo, ForwardedSkill
from schemas.box import SkillSpec
from schemas.errors import (
    BoxNotFound,
    BusUnavailable,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    InvalidArguments,
    InvalidInput,
    Overloaded,
    SkillFailed,
    SkillNotFound,
    Unavailable,
)
from tests.integration.bus.agents import Agents, Seen, data_of, eventually


async def read(stream: AsyncIterator[int], into: list[int]) -> None:
    async for item in stream:
        into.append(item)


class Point(BaseModel):
    x: int
    y: int = 0


async def test_results_of_every_kind_of_skill(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def coroutine(a: int, b: int = 2) -> int:
        return a + b

    @server.skill
    def function(point: Point) -> Point:
        assert threading.current_thread() is not threading.main_thread()
        return Point(x=point.y, y=point.x)

    @server.skill(name="numbers", description="counts")
    async def async_generator(n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @server.skill
    def generator(n: int) -> Iterator[int]:
        yield from range(n)

    @server.skill
    async def nothing() -> None:
        return None

    assert await caller.call("server", "coroutine", 1) == 3
    assert await caller.call(server, "coroutine", b=5, a=1) == 6
    assert await caller.call("server", "function", {"x": 1, "y": 2}) == {"x": 2, "y": 1}
    assert await caller.call("server", "numbers", 3) == [0, 1, 2]
    assert await caller.call("server", "nothing") is None
    for name in ("numbers", "generator"):
        assert [n async for n in caller.stream("server", name, 500)] == list(range(500))
    assert [n async for n in caller.stream("server", "coroutine", 1)] == [3]
    specs = {spec.name: spec for spec in server.live().skills}
    assert specs["numbers"].streaming
    assert specs["numbers"].description == "counts"


async def test_nobody_there_is_said_at_once(agents: Agents) -> None:
    caller = await agents("caller")
    began = time.monotonic()
    with pytest.raises(BoxNotFound, match="nobody"):
        await caller.call("nobody", "skill", timeout_s=30)
    with pytest.raises(BoxNotFound, match="nobody"):
        async for _ in caller.stream("nobody", "skill"):
            pass
    assert time.monotonic() - began < 5


async def test_errors_cross_the_wire(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def add(a: int, b: int) -> int:
        return a + b

    @server.skill
    async def broken() -> None:
        raise KeyError("lost")

    @server.skill
    async def platform() -> None:
        raise Conflict("moved", expected=1)

    @server.skill
    async def unspeakable() -> object:
        return threading.Lock()

    with pytest.raises(SkillNotFound, match="it has add, broken") as unknown:
        await caller.call("server", "nope")
    assert unknown.value.details["skills"] == ["add", "broken", "platform", "unspeakable"]
    with pytest.raises(InvalidArguments, match="b: Field required") as wrong:
        await caller.call("server", "add", "x")
    assert len(wrong.value.details["errors"]) == 2
    with pytest.raises(SkillFailed, match="KeyError: 'lost'") as failed:
        await caller.call("server", "broken")
    assert failed.value.details["type"] == "KeyError"
    assert 'raise KeyError("lost")' in failed.value.details["traceback"]
    assert (failed.value.details["box"], failed.value.details["skill"]) == ("server", "broken")
    with pytest.raises(Conflict, match="moved") as conflict:
        await caller.call("server", "platform")
    assert conflict.value.details == {"expected": 1}
    with pytest.raises(InvalidInput, match="no JSON form"):
        await caller.call("server", "unspeakable")


async def test_the_deadline_holds_on_both_sides(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")
    ended = asyncio.Event()

    @server.skill
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @server.skill(timeout_s=0.1)
    async def limited() -> None:
        await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as late:
        await caller.call("server", "slow", timeout_s=0.3)
    assert time.monotonic() - began < 3
    assert late.value.details["seconds"] == pytest.approx(0.3)
    await asyncio.wait_for(ended.wait(), 5)
    with pytest.raises(DeadlineExceeded, match=r"server\.limited"):
        await caller.call("server", "limited", timeout_s=30)


async def test_a_long_deadline_is_kept_too(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def slow() -> None:
        await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await caller.call("server", "slow", timeout_s=1.2)
    assert 1.2 <= time.monotonic() - began < 4


async def test_cancelling_the_caller_cancels_the_skill(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @server.skill
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    call = asyncio.create_task(caller.call("server", "slow"))
    await asyncio.wait_for(begun.wait(), 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(cancelled.wait(), 5)
    await eventually(lambda: server.serving.calls == 0)


async def test_only_its_caller_may_cancel_a_call(agents: Agents) -> None:
    caller, mallory, server = await agents("caller"), await agents("mallory"), await agents("server")
    gate = asyncio.Event()
    ids: list[str] = []

    @server.skill
    async def slow(context: Context) -> str:
        ids.append(context.call)
        await gate.wait()
        return "done"

    call = asyncio.create_task(caller.call("server", "slow"))
    await eventually(lambda: ids)
    mallory._calls.control("server", ids[0], {"cancel": True})
    await mallory.connection.flush(5)
    with pytest.raises(SkillNotFound):  # a round trip to the server agent: it has seen the control by now
        await mallory.call("server", "nope")
    gate.set()
    assert await call == "done"


async def test_a_sync_skill_is_told_and_keeps_its_place_until_it_returns(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server", concurrency=1)
    returned, gate = threading.Event(), threading.Event()

    @server.skill
    def stubborn(context: Context) -> None:
        while not context.cancelled:
            time.sleep(0.005)
        gate.wait(10)
        returned.set()

    @server.skill
    async def quick() -> bool:
        return returned.is_set()

    with pytest.raises(DeadlineExceeded):
        await caller.call("server", "stubborn", timeout_s=0.2)
    waiting = asyncio.create_task(caller.call("server", "quick"))
    await eventually(lambda: server.serving.calls == 2)
    assert not waiting.done()
    gate.set()
    assert await waiting is True


async def test_more_than_the_bound_is_refused(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server", concurrency=2)
    gate = asyncio.Event()
    running = most = 0

    @server.skill
    async def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    calls = [asyncio.create_task(caller.call("server", "slow")) for _ in range(10)]
    await eventually(lambda: sum(call.done() for call in calls) == 6)
    gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, Overloaded) for result in results) == 6
    assert results.count(None) == 4
    assert most == 2


async def test_sixty_four_at_once(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(caller.call("server", "double", n)) for n in range(64)]
    assert [call.result() for call in calls] == [2 * n for n in range(64)]


async def test_instances_share_the_calls(agents: Agents) -> None:
    caller = await agents("caller")
    servers = [await agents("server") for _ in range(2)]
    for server in servers:

        async def which(instance: str = server.instance) -> str:
            return instance

        server.skill(which)
    seen = {await caller.call("server", "which") for _ in range(60)}
    assert seen == {server.instance for server in servers}


async def test_a_slow_reader_bounds_the_writer_and_leaving_early_stops_it(agents: Agents) -> None:
    caller, server = await agents("caller", stream_credit=8), await agents("server")
    produced = 0
    closed = asyncio.Event()

    @server.skill
    async def endless() -> AsyncIterator[int]:
        nonlocal produced
        try:
            while True:
                yield produced
                produced += 1
        finally:
            closed.set()

    stream = caller.stream("server", "endless")
    got = [await anext(stream) for _ in range(20)]
    assert got == list(range(20))
    await caller.connection.flush(5)
    assert produced <= 20 + 8 + 1
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(closed.wait(), 5)
    await eventually(lambda: server.serving.calls == 0)


async def test_a_sync_generator_is_closed_when_its_reader_leaves(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")
    closed = threading.Event()

    @server.skill
    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async for _ in caller.stream("server", "endless"):
        break
    assert await asyncio.to_thread(closed.wait, 5)


async def test_a_stream_raises_where_the_skill_did(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def three() -> AsyncIterator[int]:
        for number in range(3):
            yield number
        raise ValueError("enough")

    got: list[int] = []
    with pytest.raises(SkillFailed, match="enough"):
        await read(caller.stream("server", "three"), got)
    assert got == [0, 1, 2]


async def test_a_stream_has_a_deadline(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def stuck() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    got: list[int] = []
    with pytest.raises(DeadlineExceeded):
        await read(caller.stream("server", "stuck", timeout_s=0.3), got)
    assert got == [1]


async def test_a_quiet_stream_is_kept_alive_both_ways(agents: Agents) -> None:
    caller, server = await agents("caller", keepalive_s=0.1), await agents("server", keepalive_s=0.1)

    @server.skill
    async def quiet() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.8)  # well beyond three keepalives
        yield 2

    assert [n async for n in caller.stream("server", "quiet")] == [1, 2]


async def test_a_stream_outlives_a_process_that_stood_still(agents: Agents) -> None:
    """What had come meanwhile is read before anybody is given up."""
    caller, server = await agents("caller", keepalive_s=0.1), await agents("server", keepalive_s=0.1)

    @server.skill
    async def slow() -> AsyncIterator[int]:
        for number in range(3):
            yield number
            time.sleep(0.5)  # noqa: ASYNC251 - both sides stand still, as under load
            await asyncio.sleep(0.25)

    assert [n async for n in caller.stream("server", "slow")] == [0, 1, 2]


async def test_a_silent_reader_is_given_up(agents: Agents) -> None:
    """Its process may have been killed: nobody takes the stream back but the server's own patience."""
    caller, server = await agents("caller"), await agents("server", keepalive_s=0.1)
    closed = asyncio.Event()

    @server.skill
    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    stream = caller.stream("server", "endless")
    assert await anext(stream) == 1
    caller.connection.replies._expected.clear()  # as if it were dead
    await asyncio.wait_for(closed.wait(), 5)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_lost_chunk_is_noticed(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def count() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    send, sent = server.serving._send, 0

    def lossy(reply: str, body: bytes, *, alone: bool = False) -> None:
        nonlocal sent
        sent += 1
        if sent != 3:
            send(reply, body, alone=alone)

    server.serving._send = lossy  # type: ignore[method-assign]
    got: list[int] = []
    with pytest.raises(BusUnavailable, match="lost chunks"):
        await read(caller.stream("server", "count"), got)
    assert got == [0, 1]


async def test_skills_reach_the_bus_through_their_context(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")
    mail, progress = Seen(data_of), Seen(lambda s: (s.sender, s.data["data"]))
    await caller.on_message(mail)
    await caller.on_signal("call.*", progress)

    @caller.skill
    async def hello(name: str) -> str:
        return f"hello {name}"

    @server.skill
    def blocking(context: Context) -> str:
        context.bus.send_message(context.caller, "from a thread")
        context.progress(0.5, "half")
        return str(context.bus.call("caller", "hello", "thread"))

    @server.skill
    async def awaiting(context: Context) -> str:
        await context.aio.send_message(context.caller, "from a coroutine")
        context.log("a line")
        return str(await context.aio.call("caller", "hello", name="coroutine"))

    assert await caller.call("server", "blocking") == "hello thread"
    assert await caller.call("server", "awaiting") == "hello coroutine"
    assert await mail.wait(2) == ["from a thread", "from a coroutine"]
    assert await progress.wait(2) == [
        ("server", {"fraction": 0.5, "note": "half"}),
        ("server", {"text": "a line"}),
    ]


async def test_a_forwarded_skill_takes_calls_as_they_come(agents: Agents) -> None:
    caller, node = await agents("caller"), await agents("node-agent")
    box = await node.attach("box-1")

    async def forward(args: list[object], kwargs: dict[str, object], call: CallInfo) -> object:
        return [args, kwargs, call.address, call.caller, call.skill]

    box.add_skill(ForwardedSkill(SkillSpec(name="any"), forward))
    assert await caller.call("box-1", "any", 1, two=2) == [[1], {"two": 2}, "box-1", "caller", "any"]
    await box.aclose()
    with pytest.raises(BoxNotFound):
        await caller.call("box-1", "any")
    with pytest.raises(SkillNotFound):
        await caller.call("node-agent", "any")


async def test_the_trace_goes_along(agents: Agents) -> None:
    from box_agent.bus import trace

    caller, server = await agents("caller"), await agents("server")
    mail = Seen(lambda m: trace.current())
    await caller.on_message(mail)
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @server.skill
    async def which() -> str | None:
        await server.send_message("caller")
        return trace.current()

    token = trace.use(given)
    try:
        assert await caller.call("server", "which") == given
    finally:
        trace.reset(token)
    assert await caller.call("server", "which") is None
    assert await mail.wait(2) == [given, None]


async def test_closing_ends_what_runs(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server", close_timeout_s=0.2)
    begun = asyncio.Event()

    @server.skill
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(caller.call("server", "slow"))
    await asyncio.wait_for(begun.wait(), 5)
    await server.aclose()
    with pytest.raises(Unavailable, match="closing"):
        await call
    with pytest.raises(BoxNotFound):
        await caller.call("server", "slow")


async def test_a_closed_agent_says_so(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")

    @server.skill
    async def slow() -> None:
        await asyncio.Event().wait()

    pending = asyncio.create_task(caller.call("server", "slow"))
    await eventually(lambda: server.serving.calls == 1)
    await caller.aclose()
    with pytest.raises(BusUnavailable, match="closed"):
        await pending
    with pytest.raises(BusUnavailable, match="closed"):
        await caller.call("server", "slow")
    with pytest.raises(BusUnavailable, match="closed"):
        await caller.send_message("server")


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), 1e9])
async def test_impossible_timeouts_are_refused(agents: Agents, timeout_s: float) -> None:
    caller = await agents("caller")
    with pytest.raises(InvalidInput, match="timeout_s"):
        await caller.call("server", "x", timeout_s=timeout_s)


async def test_a_cancelled_stream_says_who_cancelled(agents: Agents) -> None:
    caller, server = await agents("caller"), await agents("server")
    ids: list[str] = []

    @server.skill
    async def slow(context: Context) -> None:
        ids.append(context.call)
        await asyncio.Event().wait()

    call = asyncio.create_task(caller.call("server", "slow"))
    await eventually(lambda: ids)
    caller._calls.control("server", ids[0], {"cancel": True})
    with pytest.raises(Cancelled, match="by its caller"):
        await call
