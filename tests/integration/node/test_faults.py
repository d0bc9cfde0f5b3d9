"""A node in a process of its own, ended in every way: nothing of its boxes stays, and tasks go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent.agent import Agent
from box_agent.live import register
from box_agent.node.service import Node
from box_agent.worker.processes import alive, marked
from schemas.errors import BoxDied, BoxNotFound, Unavailable
from schemas.task import Retry
from tests.integration.node.boxes import Workshop
from tests.integration.node.waiting import until
from tests.servers.nats import NatsServer

pytestmark = pytest.mark.nats_versions("current")
AGAIN = Retry(max_attempts=3, initial_s=0, jitter=0)


class NodeProcess:
    """``python -m box_agent.node`` with its log; the same home every time it is started."""

    def __init__(self, url: str, tenant: str, home: Path) -> None:
        self.home = home
        self._log = home.with_suffix(".log")
        self._environment = {
            **os.environ, "BOXHUB_NATS_URL": url, "BOXHUB_TENANT": tenant, "BOXHUB_NODE_BEAT_S": "0.2",
            "BOXHUB_NODE_STOP_GRACE_S": "0.5", "BOXHUB_NODE_DRIVERS": '["process"]', "BOXHUB_CLOSE_TIMEOUT_S": "2",
        }  # fmt: skip
        self.process: asyncio.subprocess.Process

    async def start(self, planner: Agent) -> None:
        """Returns when the hub knows this start of it."""
        before = {node.instance for node in await planner.boxes.nodes()}
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "box_agent.node", "--name", "far", "--home", str(self.home),
                env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(20):
            while not {node.instance for node in await planner.boxes.nodes()} - before:
                assert self.process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.05)

    async def end(self, number: int, timeout_s: float = 15.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    def directories(self) -> list[str]:
        """Of boxes, those that are being removed included."""
        return [path.name for path in (self.home / "boxes").iterdir()]


@pytest.fixture
async def far(
    planner: Agent, shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> AsyncIterator[NodeProcess]:
    process = NodeProcess(shared_nats_server.url, tenant, tmp_path / "far")
    await process.start(planner)
    try:
        yield process
    finally:
        await process.end(signal.SIGKILL)


async def held_pids(marker: Path) -> list[int]:
    await until(lambda: marker.exists() and marker.read_text().endswith("\n"))
    return [int(pid) for pid in marker.read_text().split()]


async def test_sigterm_drains_in_order(far: NodeProcess, planner: Agent, tmp_path: Path) -> None:
    workspace = await planner.workspaces.create("w")
    [branch] = await planner.workspaces.fork(workspace.root, files={"a.txt": "a"})
    live = await planner.spawn(Workshop, branch=branch.id)
    await live.write("b.txt", "kept")
    busy = await planner.spawn(Workshop)
    holding = asyncio.ensure_future(busy.hold(str(tmp_path / "held")))
    pids = [*await held_pids(tmp_path / "held"), await live.pid()]
    assert await far.end(signal.SIGTERM) == 0
    assert not any(alive(pid) for pid in pids)
    assert far.directories() == []
    with pytest.raises((BoxDied, Unavailable)):
        await holding
    assert {change.path for change in await planner.workspaces.diff(branch.id)} == {"a.txt", "b.txt"}
    assert [node.name for node in await planner.boxes.nodes()] == [], "it said goodbye"
    with pytest.raises(BoxNotFound):
        await live.read("a.txt")


async def test_nothing_outlives_a_killed_node_and_the_next_one_cleans_up(
    far: NodeProcess, planner: Agent, tmp_path: Path
) -> None:
    live = await planner.spawn(Workshop)
    holding = asyncio.ensure_future(live.hold(str(tmp_path / "held"), timeout_s=3))
    pids = await held_pids(tmp_path / "held")
    await far.end(signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in pids), 5)
    await until(lambda: live.address not in marked().values(), 5)
    await asyncio.wait({holding})
    assert holding.exception() is not None
    assert live.address in far.directories()
    await far.start(planner)
    assert far.directories() == []
    with pytest.raises(BoxNotFound):
        await live.add(1, 2)
    again = await planner.spawn(Workshop)
    assert await again.add(1, 2) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_task_survives_its_node(far: NodeProcess, planner: Agent, tmp_path: Path, number: int) -> None:
    await register(planner, Workshop)
    marker = tmp_path / "runs"
    handle = await planner.delegate("workshop", "once_then_quick", {"marker": str(marker)}, retry=AGAIN)
    [first] = await held_pids(marker)
    await far.end(number)
    await until(lambda: not alive(first), 5)
    await far.start(planner)
    assert await handle.result(timeout_s=30) == "quick"
    record = await handle.get()
    assert len(marker.read_text().split()) == 2
    ran = [a for a in record.attempts if a.state != "refused"]  # nobody took those while no node was there
    assert [a.error.code for a in ran if a.error] == ["attempt_lost"]


async def test_a_worker_killed_in_a_call_fails_that_call_only(far: NodeProcess, planner: Agent, tmp_path: Path) -> None:
    live, other = await planner.spawn(Workshop), await planner.spawn(Workshop)
    holding = asyncio.ensure_future(live.hold(str(tmp_path / "held")))
    worker, child = await held_pids(tmp_path / "held")
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(BoxDied, match="signal 9"):
        await holding
    await until(lambda: not alive(child), 5)
    assert await other.add(20, 22) == 42


async def test_a_second_node_in_the_same_home_is_refused(far: NodeProcess, planner: Agent) -> None:
    live = await planner.spawn(Workshop)
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "box_agent.node", "--name", "other", "--home", str(far.home),
        env=far._environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        _, said = await second.communicate()
    assert second.returncode == 1
    assert b"another node runs in" in said
    assert await live.add(1, 1) == 2, "it did not touch the boxes of the first"


async def test_boxes_work_on_while_the_bus_is_away(nats_server: NatsServer, tenant: str, tmp_path: Path) -> None:
    from hub.app import Hub
    from tests.integration.node.conftest import agent_settings, hub_settings

    url = nats_server.url
    settings = agent_settings(url, tenant, reconnect_wait_s=0.05)
    async with (
        Hub(hub_settings(url, tenant, tmp_path / "hub")),
        Node(_settings(tmp_path), settings) as node,
        await Agent.open("planner", url=url, tenant=tenant, settings=settings) as planner,
    ):
        await register(planner, Workshop)
        live = await planner.spawn(Workshop)
        pid = await live.pid()
        handle = await planner.delegate("workshop", "hold", {"marker": str(tmp_path / "held"), "seconds": 1.0})
        await held_pids(tmp_path / "held")
        await nats_server.kill()
        await until(lambda: not node.agent.connection.connected)
        await nats_server.restart()
        assert await handle.result(timeout_s=30) == "held"
        assert len((await handle.get()).attempts) == 1, "it was reported after the interruption, not tried again"
        assert await live.pid() == pid


def _settings(tmp_path: Path):
    from box_agent.node.config import NodeSettings
    from tests.integration.node.conftest import PLAIN

    return NodeSettings(name="here", home=tmp_path / "here", **PLAIN)
