"""Which driver a node takes for a box, and a node's whole work over the one that isolates."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from box_agent import Box, skill
from box_agent.agent import Agent
from box_agent.live import register
from box_agent.node.service import Node
from box_agent.worker.processes import alive, descendants
from schemas.errors import BoxDied, NoCapacity
from tests.integration.node.boxes import Workshop
from tests.integration.node.conftest import StartNode
from tests.integration.node.waiting import until

pytestmark = pytest.mark.nats_versions("current")


class Curious(Box):
    @skill
    def sees(self, path: str) -> bool:
        return Path(path).exists()

    @skill
    def where(self) -> str:
        return str(Path.cwd())


async def both(start_node: StartNode) -> Node:
    """A node as it is without settings. Skips where it has no isolation to offer."""
    node = await start_node(drivers=("local", "process"))
    local = next(info for info in node.info().drivers if info.name == "local")
    if not local.available:
        pytest.skip(local.reason)
    return node


async def test_the_first_driver_that_works_is_the_default(
    start_node: StartNode, planner: Agent, tmp_path: Path
) -> None:
    await both(start_node)
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    async with await planner.spawn(Curious) as live:
        record = await live.info()
        assert (record.driver, record.isolation) == ("local", "namespace")
        assert await live.where() == "/workspace"
        assert not await live.sees(str(secret))
    async with await planner.spawn(Curious, driver="process") as live:
        assert (await live.info()).isolation == "none"
        assert await live.sees(str(secret))


async def test_a_minimum_is_kept_or_refused(start_node: StartNode, planner: Agent) -> None:
    await start_node("plain", drivers=("process",))
    with pytest.raises(NoCapacity, match="at least 'namespace' is wanted"):
        await planner.spawn(Workshop, isolation="namespace", timeout_s=1.5)
    with pytest.raises(NoCapacity, match="driver 'process' isolates by 'none', at least 'namespace' is wanted"):
        await planner.spawn(Workshop().require(isolation="namespace"), timeout_s=1.5)
    await both(start_node)
    async with await planner.spawn(Workshop().require(isolation="namespace")) as live:
        record = await live.info()
        assert (record.node, record.isolation) == ("here", "namespace")
    with pytest.raises(NoCapacity, match="at least 'vm' is wanted"):
        await planner.spawn(Workshop, isolation="vm", timeout_s=1.5)


async def test_a_branch_goes_in_and_comes_back(start_node: StartNode, planner: Agent) -> None:
    await both(start_node)
    workspace = await planner.workspaces.create("w")
    [branch] = await planner.workspaces.fork(workspace.root, files={"a.txt": "from outside"})
    async with await planner.spawn(Workshop, branch=branch.id) as live:
        assert await live.read("a.txt") == "from outside"
        await live.write("deep/er/b.txt", "from inside")
        await live.write("a.txt", "changed")
    async with await planner.spawn(Workshop, branch=branch.id) as again:
        assert await again.read("deep/er/b.txt") == "from inside"
        assert await again.read("a.txt") == "changed"
        assert await again.listing() == ["a.txt", "deep/er/b.txt"]


async def test_boxes_behind_the_wall_reach_each_other_over_the_bus(start_node: StartNode, planner: Agent) -> None:
    await both(start_node)
    async with await planner.spawn(Workshop) as one, await planner.spawn(Workshop) as two:
        assert await one.ask(two.address, "add", 2, 3) == 5
        assert await one.meddle("_node-here", "_box_stop") == "PermissionDenied"


async def test_an_attempt_killed_in_its_box_is_tried_again(start_node: StartNode, planner: Agent) -> None:
    node = await both(start_node)
    await register(planner, Workshop)
    task = await planner.delegate("workshop", "hold", {"marker": "held", "seconds": 0.5})
    await until(lambda: [box for box in node.boxes.records() if box.state == "ready"])
    first = node.boxes.records()[0].pid
    os.kill(first, signal.SIGKILL)
    assert await task.result(timeout_s=30) == "held"
    assert not alive(first)


async def test_a_stopped_box_has_no_process_left(start_node: StartNode, planner: Agent) -> None:
    node = await both(start_node)
    live = await planner.spawn(Workshop)
    await live.add(1, 1)
    before = set(descendants(os.getpid()))
    second = await planner.spawn(Workshop)
    calling = asyncio.ensure_future(second.hold("held"))
    directory = node.boxes.find(second.address).directory
    await until((directory / "held").exists)
    assert len(set(descendants(os.getpid())) - before) >= 3
    await second.stop()
    assert set(descendants(os.getpid())) == before
    with pytest.raises(BoxDied):
        await calling
    await live.stop()
