"""The first commit of a race stops what works on the other branches, and proves it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from box_agent.agent import Agent
from box_agent.context.tasks import TaskHandle
from box_agent.live import register
from box_agent.node.service import Node
from box_agent.worker import processes
from hub.app import Hub
from schemas.errors import Cancelled
from tests.integration.node.boxes import Workshop

pytestmark = pytest.mark.nats_versions("current")


async def working_on(planner: Agent, branch: str, marker: Path) -> tuple[TaskHandle, list[int]]:
    """A task that waits on a branch, and its processes."""
    handle = await planner.delegate("workshop", "hold", {"marker": str(marker), "seconds": 600}, branch=branch)
    async with asyncio.timeout(20):
        while not marker.exists() or not marker.read_text().endswith("\n"):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    return handle, [int(pid) for pid in marker.read_text().split()]


async def test_tasks_and_boxes_of_the_losers_end(node: Node, planner: Agent, tmp_path: Path) -> None:
    await register(planner, Workshop)
    site = await planner.workspaces.open("race", create=True)
    async with site.race("a", "b", "c") as (a, b, c):
        handle, pids = await working_on(planner, a.id, tmp_path / "marker")
        live = await planner.spawn(Workshop, branch=b.id)
        await c.write({"won": "yes"})
        result = await c.commit()
        assert set(result.superseded) == {a.id, b.id}
        assert result.stopped == [live.record.id]
        assert result.cancelling == [handle.id]
        async with asyncio.timeout(10):
            with pytest.raises(Cancelled):
                await handle.result()
    assert not any(map(processes.alive, pids)), "a canceled task has no process"
    assert await site.read("won") == b"yes"


async def test_the_leader_ends_what_a_killed_hub_left(node: Node, planner: Agent, hub: Hub, tmp_path: Path) -> None:
    await register(planner, Workshop)
    site = await planner.workspaces.open("race", create=True)
    a, b = await site.fork("a", "b", mode="race")
    handle, pids = await working_on(planner, a.id, tmp_path / "marker")
    tenant = hub.tenant(planner.tenant)
    await tenant.scope.branches._commits.run(b.id, "fail", None)  # all that it had done when it was killed
    stopped = await tenant.losers.sweep()
    assert stopped.tasks == [handle.id]
    async with asyncio.timeout(10):
        with pytest.raises(Cancelled):
            await handle.result()
    assert not any(map(processes.alive, pids))
    assert (await a.refresh()).state == "superseded"
    assert (await tenant.losers.sweep()).tasks == []
