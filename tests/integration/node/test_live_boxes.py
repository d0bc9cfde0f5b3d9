"""Live boxes as others see them: addresses whose skills run in another process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from box_agent.agent import Agent
from box_agent.bus.received import Event, Message, Signal
from box_agent.node.service import Node
from box_agent.worker.processes import alive
from schemas.box import Resources
from schemas.errors import (
    BoxDied,
    BoxNotFound,
    DeadlineExceeded,
    IdempotencyConflict,
    InvalidArguments,
    LimitExceeded,
    NoCapacity,
    PermissionDenied,
    SkillFailed,
    SkillNotFound,
)
from tests.integration.bus.agents import eventually
from tests.integration.node.boxes import Slow, Workshop
from tests.integration.node.conftest import StartNode
from tests.integration.node.waiting import until

pytestmark = pytest.mark.nats_versions("current")


async def test_a_live_box_answers_in_its_own_process(node: Node, planner: Agent) -> None:
    async with await planner.spawn(Workshop) as live:
        assert await live.add(1, b=2) == 3
        assert [item async for item in live.count(40)] == list(range(40))
        assert await live.call("count", 3) == [0, 1, 2]
        pid = await live.pid()
        assert pid != os.getpid()
        record = await live.info()
        assert (record.state, record.node, record.driver, record.owner) == ("ready", "here", "process", "planner")
        assert {"add", "pid", "count"} <= {spec.name for spec in record.skills}
    assert not alive(pid), "stop returns when the process has ended"
    with pytest.raises(BoxNotFound):
        await live.add(1, 2)
    assert node.boxes.records() == []


async def test_errors_of_a_skill_reach_the_caller_as_themselves(node: Node, planner: Agent) -> None:
    async with await planner.spawn(Workshop) as live:
        with pytest.raises(SkillFailed, match="ValueError: sour") as failed:
            await live.fail("sour")
        assert failed.value.details["box"] == live.address
        assert failed.value.details["skill"] == "fail"
        assert "boxes.py" in failed.value.details["traceback"]
        with pytest.raises(InvalidArguments):
            await live.add("one", b=[])
        with pytest.raises(SkillNotFound, match="add"):
            await planner.call(live.address, "nothing")
        assert await live.add(1, 1) == 2


async def test_the_callers_deadline_and_a_left_stream_end_the_skill(node: Node, planner: Agent) -> None:
    async with await planner.spawn(Slow) as live:
        with pytest.raises(DeadlineExceeded):
            await live.call("wait_for", 60, timeout_s=0.3)
        stream = live.ticks(0.01)
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        await stream.aclose()
        await until(lambda: node.boxes.records()[0].calls == 0)
        assert await live.wait_for(0) == "waited"


async def test_a_cancelled_call_ends_in_the_box(node: Node, planner: Agent, tmp_path: Path) -> None:
    async with await planner.spawn(Slow) as live:
        calling = asyncio.ensure_future(live.wait_for(60))
        await until(lambda: node.boxes.records()[0].calls == 1)
        calling.cancel()
        await asyncio.wait({calling})
        await until(lambda: node.boxes.records()[0].calls == 0)
        assert await live.wait_for(0) == "waited"


async def test_a_box_speaks_as_itself(node: Node, planner: Agent) -> None:
    mail: asyncio.Queue[Message] = asyncio.Queue()
    events: asyncio.Queue[Event] = asyncio.Queue()

    async def got_mail(message: Message) -> None:
        mail.put_nowait(message)

    async def got_event(event: Event) -> None:
        events.put_nowait(event)

    await planner.on_message(got_mail)
    await planner.on_event("told", got_event, durable=False)
    async with await planner.spawn(Workshop) as live, await planner.spawn(Workshop) as other:
        message_id = await live.tell("planner", {"x": 1})
        async with asyncio.timeout(10):
            message, event = await mail.get(), await events.get()
        assert (message.id, message.sender, message.data) == (message_id, live.address, {"x": 1})
        assert (event.sender, event.data) == (live.address, {"x": 1})
        assert await live.ask(other.address, "add", 2, 3) == 5


@pytest.mark.parametrize("target", [("_node-here", "_box_stop"), ("_hub", "_task_renew"), ("_node-here", "anything")])
async def test_the_platforms_own_skills_are_not_for_boxes(node: Node, planner: Agent, target: tuple[str, str]) -> None:
    async with await planner.spawn(Workshop) as live:
        assert await live.meddle(*target) == PermissionDenied.__name__


async def test_only_the_hub_directs_a_node(node: Node, planner: Agent) -> None:
    async with await planner.spawn(Workshop) as live:
        with pytest.raises(PermissionDenied):
            await planner.call("_node-here", "_box_stop", id=live.address)
        assert await live.add(1, 1) == 2


async def test_progress_and_logs_of_a_call_are_signals_of_the_box(node: Node, planner: Agent) -> None:
    heard: list[Signal] = []

    async def note(signal: Signal) -> None:
        heard.append(signal)

    async with await planner.spawn(Workshop) as live:
        await planner.on_signal("box.*", note, sender=live.address)
        assert await live.talk(3) == live.address
        await until(lambda: len([s for s in heard if s.name == "box.log"]) == 3)
    told = [s for s in heard if s.name == "box.progress"]
    assert [s.data["data"]["note"] for s in told] == ["step 0", "step 1", "step 2"]
    assert {s.data["caller"] for s in told} == {"planner"}


async def test_one_id_is_one_box(node: Node, planner: Agent) -> None:
    async with asyncio.TaskGroup() as group:
        spawning = [group.create_task(planner.spawn(Workshop, id="shop")) for _ in range(5)]
    pids = {await task.result().pid() for task in spawning}
    assert len(pids) == 1
    request = node.boxes.find("shop").request
    assert (await node.boxes.spawn(request)).pid in pids
    with pytest.raises(IdempotencyConflict):
        await planner.spawn(Slow, id="shop")
    await spawning[0].result().stop()
    again = await planner.spawn(Workshop, id="shop")
    assert await again.pid() not in pids
    await again.stop()


async def test_a_box_that_dies_fails_its_calls_and_is_gone(node: Node, planner: Agent) -> None:
    live = await planner.spawn(Workshop)
    with pytest.raises(BoxDied, match="signal 9"):
        await live.die()
    await until(lambda: not node.boxes.records())
    with pytest.raises(BoxNotFound):
        await live.add(1, 2)
    await live.stop()


async def test_stopping_a_box_in_a_call_ends_the_call(node: Node, planner: Agent, tmp_path: Path) -> None:
    live = await planner.spawn(Workshop)
    marker = tmp_path / "held"
    calling = asyncio.ensure_future(live.hold(str(marker)))
    await until(marker.exists)
    await until(lambda: marker.read_text().endswith("\n"))
    pids = [int(pid) for pid in marker.read_text().split()]
    await live.stop("enough")
    assert not any(alive(pid) for pid in pids), "also what the box started has ended"
    await asyncio.wait({calling})
    with pytest.raises(BoxDied, match="enough"):
        calling.result()


@pytest.mark.parametrize(("limit", "resources"), [("wall_s", Resources(wall_s=0.4)), ("idle_s", Resources(idle_s=0.4))])
async def test_a_box_ends_at_its_limits(node: Node, planner: Agent, limit: str, resources: Resources) -> None:
    from box_agent.live import register

    definition = (await register(planner, Slow)).model_copy(update={"resources": resources})
    live = await planner.spawn(definition)
    if limit == "wall_s":
        with pytest.raises(LimitExceeded, match="lived for"):
            await live.wait_for(60)
    else:
        assert await live.wait_for(0.8) == "waited", "a box that works is not idle"
    await until(lambda: not node.boxes.records())
    with pytest.raises(BoxNotFound):
        await live.wait_for(0)


async def test_a_full_node_takes_no_more(start_node: StartNode, planner: Agent) -> None:
    await start_node(max_boxes=1)
    first = await planner.spawn(Workshop)
    with pytest.raises(NoCapacity, match="full"):
        await planner.spawn(Workshop, timeout_s=1.5)
    waiting = asyncio.ensure_future(planner.spawn(Workshop, timeout_s=20))
    await first.stop()
    second = await waiting
    assert await second.add(2, 2) == 4
    await second.stop()


async def test_a_setup_that_fails_says_so_and_leaves_nothing(node: Node, planner: Agent, tmp_path: Path) -> None:
    from box_agent import Box, skill

    class Broken(Box):
        def setup(self) -> None:
            raise RuntimeError("no oven")

        @skill
        def bake(self) -> None: ...

    with pytest.raises(SkillFailed, match="no oven"):
        await planner.spawn(Broken)
    assert node.boxes.records() == []
    assert not [path for path in (tmp_path / "here" / "boxes").iterdir() if not path.name.startswith(".")]


async def test_the_registry_follows_the_node(node: Node, planner: Agent) -> None:
    live = await planner.spawn(Workshop)
    nodes = await planner.boxes.nodes()
    assert [(n.name, n.state) for n in nodes] == [("here", "ready")]
    assert {d.name for d in nodes[0].drivers} == {"process"}

    async def listed() -> Any:
        return {box.id for box in await planner.boxes.list()}

    assert live.address in await listed()
    await live.stop()

    async def gone() -> bool:
        return live.address not in await listed()

    await eventually(gone)  # the goodbye is a signal: the hub hears of it a moment later
