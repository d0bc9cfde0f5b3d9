"""Branches as working directories: laid out, worked on, brought back."""

from __future__ import annotations

import pytest

from box_agent.agent import Agent
from box_agent.live import register
from box_agent.node.service import Node
from schemas.errors import BranchNotFound, SkillFailed
from schemas.task import Retry
from tests.integration.node.boxes import Workshop

pytestmark = pytest.mark.nats_versions("current")

FILES = {"a.txt": "apple", "deep/er/b.txt": "banana", "deep/c.txt": "cherry"}
ONCE = Retry(max_attempts=1)


async def branch_of(planner: Agent) -> str:
    workspace = await planner.workspaces.create("fruit")
    [branch] = await planner.workspaces.fork(workspace.root, files=dict(FILES))
    return branch.id


async def test_an_attempt_works_on_the_files_of_its_branch(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    branch = await branch_of(planner)
    before = (await planner.workspaces.branch(branch)).head
    looked = await planner.delegate("workshop", "listing", branch=branch)
    assert await looked.result(timeout_s=20) == sorted(FILES)
    assert (await planner.workspaces.branch(branch)).head == before, "it changed nothing"
    wrote = await planner.delegate("workshop", "write", {"path": "deep/new.txt", "text": "plum"}, branch=branch)
    await wrote.result(timeout_s=20)
    changes = {c["path"]: c for c in await planner.workspaces.diff_text(branch)}
    assert set(changes) == {*FILES, "deep/new.txt"}
    read = await planner.delegate("workshop", "read", {"path": "deep/new.txt"}, branch=branch)
    assert await read.result(timeout_s=20) == "plum"


async def test_a_failed_attempt_changes_nothing(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    branch = await branch_of(planner)
    before = (await planner.workspaces.branch(branch)).head
    handle = await planner.delegate("workshop", "fail", {"text": "sour"}, branch=branch, retry=ONCE)
    with pytest.raises(SkillFailed):
        await handle.result(timeout_s=20)
    assert (await planner.workspaces.branch(branch)).head == before


async def test_a_live_box_brings_its_files_back_when_it_is_stopped(node: Node, planner: Agent) -> None:
    branch = await branch_of(planner)
    live = await planner.spawn(Workshop, branch=branch)
    assert (await live.info()).branch == branch
    await live.write("a.txt", "apricot")
    await live.stop()
    assert "not advanced" not in live.record.reason
    other = await planner.spawn(Workshop, branch=branch)
    assert await other.read("a.txt") == "apricot"
    await other.stop()


async def test_who_comes_second_is_told_and_overwrites_nothing(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    branch = await branch_of(planner)
    live = await planner.spawn(Workshop, branch=branch)
    await live.write("a.txt", "late")
    first = await planner.delegate("workshop", "write", {"path": "a.txt", "text": "early"}, branch=branch)
    await first.result(timeout_s=20)
    await live.stop("done")
    assert "not advanced" in live.record.reason, "stopped, and said that the files were not kept"
    kept = await planner.delegate("workshop", "read", {"path": "a.txt"}, branch=branch)
    assert await kept.result(timeout_s=20) == "early"


async def test_the_environments_files_stay_out_of_the_branch(node: Node, planner: Agent) -> None:
    tools = Workshop().files({"tool.txt": "hammer", "a.txt": "hidden", "kit/saw.txt": "saw"})
    definition = await register(planner, tools)
    branch = await branch_of(planner)
    handle = await planner.delegate(definition.name, "listing", branch=branch)
    assert await handle.result(timeout_s=20) == sorted({*FILES, "tool.txt", "kit/saw.txt"})
    handle = await planner.delegate(definition.name, "read", {"path": "a.txt"}, branch=branch)
    assert await handle.result(timeout_s=20) == "apple", "the branch's file goes over the environment's"
    handle = await planner.delegate(definition.name, "write", {"path": "x.txt", "text": "x"}, branch=branch)
    await handle.result(timeout_s=20)
    assert {c.path for c in await planner.workspaces.diff(branch)} == {*FILES, "x.txt"}
    handle = await planner.delegate(definition.name, "write", {"path": "tool.txt", "text": "bent"}, branch=branch)
    await handle.result(timeout_s=20)
    assert {c.path for c in await planner.workspaces.diff(branch)} == {*FILES, "x.txt", "tool.txt"}, "it was changed"


async def test_forks_of_one_branch_do_not_meet(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    root = await branch_of(planner)
    forks = await planner.workspaces.fork(root, names=["one", "two", "three", "four"])
    handles = [
        await planner.delegate("workshop", "write", {"path": "a.txt", "text": fork.name}, branch=fork.id)
        for fork in forks
    ]
    for handle in handles:
        await handle.result(timeout_s=30)
    for fork in forks:
        handle = await planner.delegate("workshop", "read", {"path": "a.txt"}, branch=fork.id)
        assert await handle.result(timeout_s=30) == fork.name
    await planner.workspaces.commit(forks[0].id)
    assert {c.path for c in await planner.workspaces.diff(root)} == set(FILES)


async def test_a_branch_nobody_knows(node: Node, planner: Agent) -> None:
    await register(planner, Workshop)
    handle = await planner.delegate("workshop", "listing", branch="branch-none", retry=ONCE)
    with pytest.raises(BranchNotFound):
        await handle.result(timeout_s=20)
    with pytest.raises(BranchNotFound):
        await planner.spawn(Workshop, branch="branch-none")
    assert node.boxes.records() == []
