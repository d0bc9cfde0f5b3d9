"""What a skill's context offers, in live boxes of every driver there is: plain calls and attempts of tasks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from box_agent import Box, Context, skill
from box_agent.agent import Agent
from box_agent.live import register
from box_agent.node.service import Node
from box_agent.worker.interrupt import CallCancelled
from hub.app import Hub
from tests.integration.node.conftest import StartNode
from tests.integration.node.waiting import until

pytestmark = pytest.mark.nats_versions("current")


class Guide(Box):
    @skill
    def look(self, context: Context) -> dict[str, Any]:
        names = ("address", "caller", "skill", "branch", "conversation", "task", "cancelled")
        seen = {name: getattr(context, name) for name in names}
        left_s = None if context.deadline_at is None else context.deadline_at - time.time()
        here = context.directory == Path.cwd()
        return {**seen, "left_s": left_s, "files": sorted(p.name for p in context.directory.iterdir()), "here": here}

    @skill
    def join_in(self, text: str, context: Context) -> list[str]:
        context.bus.conversations.say(context.conversation, text, author=context.address, role="assistant")
        return [turn.text for turn in context.bus.conversations.turns(context.conversation)]

    @skill
    def report(self, context: Context) -> str:
        context.progress(0.5, "half-way")
        context.log("a line")
        context.bus.publish_event("reported", {"by": context.address})
        return context.bus.send_message("planner", {"from": context.address})

    @skill
    def until_cancelled(self, context: Context) -> None:
        try:
            context.progress(0.0, "begun")  # who hears this may cancel before it returns
            while not context.cancelled:
                time.sleep(0.01)
        except CallCancelled:
            pass  # asked for while it slept
        context.log("ended in good order")


class AsyncGuide(Box):
    @skill
    async def join_in(self, text: str, context: Context) -> list[str]:
        await context.aio.conversations.say(context.conversation, text, author=context.address, role="assistant")
        return [turn.text for turn in await context.aio.conversations.turns(context.conversation)]


class Cook(Box):
    @skill
    def cook(self, text: str, context: Context) -> list[str]:
        context.bus.conversations.say(context.conversation, text, role="assistant")
        context.bus.keyvalues.put("dish", text)
        context.bus.keyvalues.on("").put("seen by all", text)
        return [turn.text for turn in context.bus.conversations.turns(context.conversation)]

    @skill
    def taste(self, context: Context) -> Any:
        found = context.bus.keyvalues.get("dish")
        return found.value if found else None


@pytest.fixture(params=["local", "process"])
async def node(request: pytest.FixtureRequest, start_node: StartNode) -> Node:
    made = await start_node(drivers=(request.param,))
    (driver,) = made.info().drivers
    if not driver.available:
        pytest.skip(driver.reason)
    return made


async def test_a_plain_call_belongs_to_no_task(node: Node, planner: Agent) -> None:
    async with await planner.spawn(Guide) as live:
        seen = await live.look()
        assert seen["address"] == live.address
        assert seen["caller"] == "planner"
        assert (seen["skill"], seen["branch"], seen["conversation"], seen["task"]) == ("look", "", "", "")
        assert 0 < seen["left_s"] <= 60
        assert seen["here"]
        assert not seen["cancelled"]
        (record,) = node.boxes.records()
        (driver,) = node.info().drivers
        assert (record.driver, record.isolation) == (driver.name, driver.isolation)
        assert record.reaches == ("whatever its node can" if driver.name == "process" else "no network")


async def test_a_task_has_its_branch_and_its_conversation(node: Node, planner: Agent) -> None:
    await register(planner, Guide)
    talk = await planner.conversations.create("coffee")
    workspace = await planner.workspaces.create("shop")
    handle = await planner.delegate("guide", "look", branch=workspace.root, conversation=talk.id)
    seen = await handle.result(timeout_s=20)
    assert seen["task"] == handle.id
    assert seen["conversation"] == talk.id
    assert seen["branch"] == workspace.root
    assert seen["address"] == (await handle.get()).attempts[0].box
    async with await planner.spawn(Guide, branch=workspace.root) as live:
        assert (await live.look())["branch"] == workspace.root


async def test_on_a_branch_it_speaks_and_keeps_on_the_branch(node: Node, planner: Agent) -> None:
    await register(planner, Cook)
    talk = await planner.conversations.create("dinner")
    await planner.conversations.say(talk.id, "what do we eat?")
    root = (await planner.workspaces.create("kitchen", conversation=talk.id)).root
    soup, cake = await planner.workspaces.fork(root, names=["soup", "cake"])
    for branch in (soup, cake):
        task = await planner.delegate("cook", "cook", {"text": branch.name}, branch=branch.id, conversation=talk.id)
        assert await task.result(timeout_s=20) == ["what do we eat?", branch.name]
    async with await planner.spawn(Cook, branch=soup.id) as live:
        assert await live.taste() == "soup"
    async with await planner.spawn(Cook) as live:
        assert await live.taste() is None
    shared = await planner.keyvalues.get("seen by all")
    assert shared is not None
    assert shared.value == "cake"
    await planner.workspaces.commit(cake.id)
    await planner.workspaces.discard(soup.id)
    assert [turn.text for turn in await planner.conversations.turns(talk.id)] == ["what do we eat?", "cake"]
    assert [entry.value for entry in await planner.keyvalues.on(root).list()] == ["cake"]


@pytest.mark.parametrize("box", [Guide, AsyncGuide])
async def test_it_joins_in_where_its_task_belongs(node: Node, planner: Agent, box: type[Box]) -> None:
    await register(planner, box)
    talk = await planner.conversations.create("coffee")
    await planner.conversations.say(talk.id, "what is there?")
    handle = await planner.delegate(box().name, "join_in", {"text": "latte"}, conversation=talk.id)
    assert await handle.result(timeout_s=20) == ["what is there?", "latte"]
    said = (await planner.conversations.turns(talk.id))[-1]
    assert (said.role, said.author) == ("assistant", (await handle.get()).attempts[0].box)


async def test_what_it_reports_and_sends_is_its_own(node: Node, planner: Agent) -> None:
    await register(planner, Guide)
    messages: asyncio.Queue[Any] = asyncio.Queue()
    events: asyncio.Queue[Any] = asyncio.Queue()
    await planner.on_message(messages.put)
    await planner.on_event("reported", events.put)
    handle = await planner.delegate("guide", "report")
    await handle.result(timeout_s=20)
    box = (await handle.get()).attempts[0].box
    async with asyncio.timeout(10):
        assert (await messages.get()).sender == box
        assert (await events.get()).sender == box
    updates = [update async for update in handle.updates()]
    assert {"fraction": 0.5, "note": "half-way"} in [u.data for u in updates if u.kind == "progress"]
    assert {"text": "a line"} in [u.data for u in updates if u.kind == "log"]


async def test_it_hears_that_it_shall_stop(node: Node, planner: Agent) -> None:
    await register(planner, Guide)
    handle = await planner.delegate("guide", "until_cancelled")
    seen = []
    async with asyncio.timeout(20):
        async for update in handle.updates():
            seen.append(update)
            if update.kind == "progress":
                await handle.cancel()
    assert (await handle.get()).state == "canceled"
    assert "ended in good order" in [u.data["text"] for u in seen if u.kind == "log"]
    await until(lambda: not node.boxes.records())


async def test_an_attached_agent_has_them_too(hub: Hub, planner: Agent) -> None:
    def look(context: Context) -> list[str]:
        return [context.task, context.conversation, context.address]

    planner.skill(look)
    talk = await planner.conversations.create("coffee")
    handle = await planner.delegate("planner", "look", conversation=talk.id)
    assert await handle.result(timeout_s=20) == [handle.id, talk.id, "planner"]
