"""Live boxes that no record wants are ended; those of attempts and those that are wanted are left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from box_agent.config import AgentSettings
from box_agent.live import register
from box_agent.node.config import NodeSettings
from box_agent.node.service import Node
from box_agent.worker.processes import alive
from hub.lifecycle.strays import Strays, find_strays
from hub.registry.presence import Change
from hub.registry.spawned import Spawned
from schemas.box import LiveBox
from schemas.errors import BoxNotFound
from tests.integration.node.boxes import Workshop
from tests.integration.tasks.conftest import Join
from tests.integration.tasks.hub import TaskHub
from tests.servers.nats import NatsServer

pytestmark = pytest.mark.nats_versions("current")


def test_only_live_boxes_on_nodes_without_a_record_there_are_strays() -> None:
    boxes = [
        LiveBox(id="agent", kind="attached"),
        LiveBox(id="wanted", kind="live", node="n1"),
        LiveBox(id="elsewhere", kind="live", node="n2"),
        LiveBox(id="unknown", kind="live", node="n1"),
        LiveBox(id="leaving", kind="live", node="n1", state="stopping"),
        LiveBox(id="attempt", kind="live", node="n1", owner="_hub"),
    ]
    wanted = {name: Spawned(id=name, digest="", state="ready", node="n1") for name in ("wanted", "elsewhere")}
    assert {key[0] for key in find_strays(wanted, boxes)} == {"unknown", "elsewhere"}


async def test_a_box_without_a_record_is_ended_after_the_grace(
    hub: TaskHub, join: Join, shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    planner, registry = await join("planner"), hub.tenant.registry
    settings = AgentSettings(nats_url=shared_nats_server.url, tenant=tenant, beat_s=0.2)
    async with Node(
        NodeSettings(name="here", home=tmp_path / "here", beat_s=0.2, max_attempts=2, drivers=("process",)), settings
    ):
        await register(planner, Workshop)
        marker = tmp_path / "marker"
        task = await planner.delegate("workshop", "hold", {"marker": str(marker)})
        wanted, stray = await planner.spawn(Workshop), await planner.spawn(Workshop)
        pid = await stray.pid()
        await hub.until(task.id, lambda t: t.state == "working")
        await registry.spawned.end(stray.address, "as if a stop had not got through")
        gone = asyncio.Event()

        def changed(change: Change) -> None:
            if change.kind == "box_gone" and change.box is not None and change.box.id == stray.address:
                gone.set()

        registry.subscribe(changed)
        sweeping = asyncio.create_task(Strays(registry, hub.tenant.agent, grace_s=0.3, scan_s=0.1).run(1))
        try:
            async with asyncio.timeout(15):
                await gone.wait()
            assert not alive(pid)
            with pytest.raises(BoxNotFound):
                await stray.pid()
            assert await wanted.add(1, 2) == 3
            assert (await task.get()).state == "working"
        finally:
            sweeping.cancel()
            await asyncio.wait({sweeping})
        await task.cancel()
        await hub.until(task.id, lambda t: t.terminal)
