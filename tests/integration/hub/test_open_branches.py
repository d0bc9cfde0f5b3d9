"""Workspaces and branches as objects, over a real bus, async and blocking."""

from __future__ import annotations

import asyncio

import pytest

import box_agent.sync
from box_agent.agent import Agent
from hub.app import Hub
from schemas.errors import AlreadyExists, InvalidInput, MergeConflict, Superseded, TerminalState, WorkspaceNotFound
from tests.integration.hub.conftest import Join
from tests.servers.nats import NatsServer


@pytest.fixture
async def planner(hub: Hub, join: Join) -> Agent:
    return await join("planner")


async def test_a_branch_is_committed_or_leaves_nothing(planner: Agent) -> None:
    site = await planner.workspaces.open("site", create=True)
    await site.write({"a.txt": "1\n", "d/b.txt": b"\xff"})
    async with site.branch("try-1", files={"a.txt": "2\n"}) as good:
        assert await good.read("a.txt") == b"2\n"
        assert await good.read("d/b.txt") == b"\xff"
        assert set(await good.ls()) == {"a.txt", "d"}
        assert set(await good.ls("d")) == {"b.txt"}
        assert await site.read("a.txt") == b"1\n"
        await good.commit()
    assert (await site.read("a.txt"), good.state) == (b"2\n", "committed")
    async with site.branch("try-2", files={"a.txt": "3\n"}) as idle:
        pass
    with pytest.raises(ZeroDivisionError):
        async with site.branch("try-3", files={"a.txt": "4\n"}) as failed:
            1 / 0  # noqa: B018
    async with site.branch("try-4") as kept:
        kept.keep()
    assert {b.name: b.state for b in await site.branches()} == {
        "main": "open",
        "try-1": "committed",
        "try-2": "discarded",
        "try-3": "discarded",
        "try-4": "open",
    }
    assert (idle.state, failed.state, kept.state) == ("discarded", "discarded", "open")
    assert await site.read("a.txt") == b"2\n"
    assert [branch.name for branch in await site.log()] == ["try-1"]


async def test_branches_nest(planner: Agent) -> None:
    site = await planner.workspaces.open("nested", create=True)
    async with site.branch("outer", files={"a": "outer"}) as outer:
        async with outer.branch("inner", files={"b": "inner"}) as inner:
            await inner.commit()
        assert await outer.read("b") == b"inner"
        assert await site.ls() == {}
    assert await site.ls() == {}


async def test_a_race_has_one_winner(planner: Agent) -> None:
    site = await planner.workspaces.open("race", create=True)
    async with site.race("a", "b", "c") as branches:
        for branch in branches:
            await branch.write({"who": branch.name})
        found = await asyncio.gather(*(branch.commit() for branch in branches), return_exceptions=True)
    assert sum(isinstance(each, (Superseded, TerminalState)) for each in found) == 2
    states = sorted([(await branch.refresh()).state for branch in branches])
    assert states == ["committed", "superseded", "superseded"]
    winner = next(branch for branch in branches if branch.state == "committed")
    assert await site.read("who") == winner.name.encode()
    loser = next(branch for branch in branches if branch.state == "superseded")
    assert [change.path for change in await winner.compare(loser)] == ["who"]  # kept for comparison


async def test_nobody_wins_a_race_that_nobody_commits(planner: Agent) -> None:
    site = await planner.workspaces.open("race-2", create=True)
    async with site.race("a", "b") as branches:
        pass
    assert {branch.state for branch in branches} == {"discarded"}


async def test_divided_work_is_joined_in_order(planner: Agent) -> None:
    site = await planner.workspaces.open("join", create=True)
    await site.write({"a": "1\n2\n3\n4\n5\n"})
    one, two, three = await site.fork("one", "two", "three")
    await one.write({"a": "one\n2\n3\n4\n5\n"})
    await two.write({"a": "1\n2\n3\n4\nfive\n"})
    await three.write({"a": "uno\n2\n3\n4\n5\n"})
    with pytest.raises(MergeConflict) as conflict:
        await site.join([one, two, three])
    assert conflict.value.details["branch"] == three.id
    assert (one.state, two.state, three.state) == ("committed", "committed", "open")
    assert await site.read("a") == b"one\n2\n3\n4\nfive\n"
    await site.join([three], on_conflict=lambda disputed: b"uno\n2\n3\n4\nfive\n")
    assert await site.read("a") == b"uno\n2\n3\n4\nfive\n"


async def test_tags_stay_where_they_are(planner: Agent) -> None:
    site = await planner.workspaces.open("tags", create=True)
    await site.write({"a": "1"})
    tag = await site.tag("v1")
    await site.write({"a": "2"})
    assert [change.path for change in await site.compare(tag)] == ["a"]
    with pytest.raises(AlreadyExists):
        await site.tag("v1")
    assert await site.tags() == {"v1": tag}
    await site.untag("v1")
    assert await site.tags() == {}


async def test_what_is_not_there_is_said(planner: Agent) -> None:
    with pytest.raises(WorkspaceNotFound):
        await planner.workspaces.open("nowhere")
    site = await planner.workspaces.open("twice", create=True)
    await planner.workspaces.create("twice")
    with pytest.raises(InvalidInput, match="2 workspaces"):
        await planner.workspaces.open("twice")
    assert (await planner.workspaces.open(site.workspace.id)).id == site.id
    for path in ("none", "none/deeper", ""):
        with pytest.raises(InvalidInput, match="has no file"):
            await site.read(path)
    await site.write({"file": ""})
    for path in ("none", "file", "file/deeper"):
        with pytest.raises(InvalidInput, match="has no directory"):
            await site.ls(path)
    with pytest.raises(InvalidInput, match="a name for each"):
        site.race()


async def test_all_of_it_blocks_in_a_plain_program(hub: Hub, shared_nats_server: NatsServer, tenant: str) -> None:
    def program() -> None:
        with box_agent.sync.connect("plain", url=shared_nats_server.url, tenant=tenant) as agent:
            site = agent.workspaces.open("plain", create=True)
            with site.branch("try", files={"a": "1"}) as branch:
                assert branch.read("a") == b"1"
                with branch.race("x", "y") as (x, y):
                    y.write({"b": "y"})
                    y.commit()
                    assert x.refresh().state == "superseded"
                branch.commit()
            one, two = site.fork("one", "two")
            one.write({"one": ""})
            two.write({"two": ""})
            assert len(site.join([one, two])) == 2
            assert set(site.ls()) == {"a", "b", "one", "two"}
            assert [change.path for change in site.compare(two)] == ["one"]

    await asyncio.to_thread(program)
