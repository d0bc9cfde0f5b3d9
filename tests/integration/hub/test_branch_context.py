"""Conversation and key-values of branches over a real bus: agents on branches, conflicts decided by one of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from box_agent.agent import Agent
from box_agent.context.commits import Answer, Disputed
from hub.app import Hub
from schemas.errors import InvalidInput, MergeConflict, TerminalState
from tests.integration.hub.conftest import Join


@pytest.fixture
async def planner(hub: Hub, join: Join) -> Agent:
    return await join("planner")


async def test_three_agents_on_three_branches_and_one_history(hub: Hub, join: Join, planner: Agent) -> None:
    talk = await planner.conversations.create("menu")
    await planner.conversations.say(talk.id, "write the menu")
    root = (await planner.workspaces.create("menu", conversation=talk.id)).root
    agents = [await join(name) for name in ("ann", "ben", "cem")]
    branches = await planner.workspaces.fork(root, names=[agent.address for agent in agents])

    async def work(agent: Agent, branch: str) -> list[str]:
        here, keys = agent.conversations.on(branch), agent.keyvalues.on(branch)
        await here.say(talk.id, f"{agent.address} was here", role="assistant")
        await keys.put("who", agent.address, expected_revision=0)
        await keys.put(f"price/{agent.address}", 3)
        assert [entry.key for entry in await keys.list("price/")] == [f"price/{agent.address}"]
        return [turn.text for turn in await here.turns()]

    seen = await asyncio.gather(*(work(a, b.id) for a, b in zip(agents, branches, strict=True)))
    assert seen == [["write the menu", f"{agent.address} was here"] for agent in agents]
    assert (await planner.conversations.get(talk.id)).turns == 1
    assert await planner.keyvalues.list() == []

    [price, who] = await planner.keyvalues.on(branches[0].id).changes()
    assert (price.key, who.key, who.base, who.ours and who.ours.value) == ("price/ann", "who", None, "ann")
    with pytest.raises(InvalidInput):
        await planner.keyvalues.changes()

    def together(disputed: Disputed) -> Answer:
        assert (disputed.path, disputed.conflict.kind, disputed.base) == ("/keys/who", "key_value", None)
        return json.dumps([json.loads(disputed.theirs or b""), json.loads(disputed.ours or b"")]).encode()

    await planner.workspaces.commit(branches[0].id)
    with pytest.raises(MergeConflict):
        await planner.workspaces.commit(branches[1].id)
    await planner.workspaces.commit(branches[1].id, on_conflict=together)
    await planner.workspaces.discard(branches[2].id)
    turns = await agents[2].conversations.turns(talk.id)
    assert [turn.author for turn in turns] == ["planner", "ann", "planner", "ben"]
    assert turns[2].text == "(joined from branch ben, said without knowing the above: 1 turn by ben)"
    prompt = await planner.conversations.prompt(talk.id, 1000)
    assert [m["content"] for m in prompt["messages"]] == [turn.text for turn in turns]
    prices = {entry.key: entry.value for entry in await agents[2].keyvalues.on(root).list()}
    assert prices == {"who": ["ann", "ben"], "price/ann": 3, "price/ben": 3}
    with pytest.raises(TerminalState):
        await agents[2].keyvalues.on(branches[2].id).put("late", 1)
    with pytest.raises(TerminalState):
        await agents[2].conversations.on(branches[2].id).say("", "late")


async def test_what_is_not_on_the_branch_can_be_read_and_not_written(planner: Agent) -> None:
    other = await planner.conversations.create("elsewhere")
    await planner.conversations.say(other.id, "hello")
    branch = (await planner.workspaces.create("w")).root
    here = planner.conversations.on(branch)
    assert [turn.text for turn in await here.turns(other.id)] == ["hello"]
    with pytest.raises(InvalidInput, match="not on branch"):
        await here.say(other.id, "leaks")
    await here.on("").say(other.id, "on purpose")
    await here.say("", "kept")
    assert (await planner.conversations.get(other.id)).turns == 2
    assert [turn.text for turn in await here.turns()] == ["kept"]
    assert [turn.text for turn in await planner.conversations.turns(f"@{branch}")] == ["kept"]


async def test_a_validated_commit_is_validated_again_when_a_key_moved(planner: Agent) -> None:
    root = (await planner.workspaces.create("w")).root
    [branch] = await planner.workspaces.fork(root, files={"a": "1"})
    await planner.keyvalues.on(branch.id).put("n", 1)
    loop = asyncio.get_running_loop()
    seen = 0

    def check(directory: Path) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            put = planner.keyvalues.on(root).put("other", 2)
            asyncio.run_coroutine_threadsafe(put, loop).result(10)

    result = await planner.workspaces.commit(branch.id, validate=check)
    assert (seen, result.keys) == (2, ["n"])
    assert [entry.key for entry in await planner.keyvalues.on(root).list()] == ["n", "other"]


async def test_a_watch_of_a_branch_sees_a_commit(planner: Agent) -> None:
    root = (await planner.workspaces.create("w")).root
    [branch] = await planner.workspaces.fork(root)
    await planner.keyvalues.on(root).put("first", 1)
    await planner.keyvalues.on(branch.id).put("second", 2)
    seen = []
    async with asyncio.timeout(20):
        async for entry in planner.keyvalues.on(root).watch():
            seen.append(entry.key)
            if seen == ["first"]:
                await planner.workspaces.commit(branch.id)
            if len(seen) == 2:
                break
    assert seen == ["first", "second"]
