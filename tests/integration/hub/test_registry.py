"""Who is there, on a real bus: beats, goodbyes, silence, and who may say what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from box_agent.agent import Agent
from hub.app import Hub
from hub.config import HubSettings
from hub.registry import Registry
from hub.registry.presence import Change
from schemas.box import LiveBox
from schemas.errors import BoxNotFound
from schemas.node import NodeInfo
from tests.integration.hub.conftest import Join
from tests.integration.hub.stand_in_node import StandInNode
from tests.servers.nats import NatsServer

WAIT_S = 15


def registry_of(hub: Hub) -> Registry:
    return hub.tenant(hub.settings.tenant).registry


class Seen:
    """Every change since the block began, and a way to wait for one."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._moved = asyncio.Event()

    def add(self, change: Change) -> None:
        self.changes.append(change)
        self._moved.set()

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not check():
                self._moved.clear()
                await self._moved.wait()

    async def gone(self, id: str) -> Change:
        def found() -> list[Change]:
            return [c for c in self.changes if c.kind == "box_gone" and c.box and c.box.id == id]

        await self.until(lambda: bool(found()))
        return found()[0]


@asynccontextmanager
async def watching(hub: Hub) -> AsyncIterator[Seen]:
    seen = Seen()
    unsubscribe = registry_of(hub).subscribe(seen.add)
    try:
        yield seen
    finally:
        unsubscribe()


async def test_agents_come_and_say_goodbye(hub: Hub, join: Join) -> None:
    async with watching(hub) as seen:
        planner = await join("planner")
        await seen.until(lambda: registry_of(hub).find_box("planner") is not None)
        found = await planner.boxes.get("planner")
        assert (found.kind, found.instance) == ("attached", planner.instance)
        assert "_hub" in {box.id for box in await planner.boxes.list()}
        await planner.aclose()
        gone = await seen.gone("planner")
        assert gone.box is not None
        assert gone.box.reason == "said goodbye"
    with pytest.raises(BoxNotFound):
        await hub.services(hub.settings.tenant).registry.box_get("planner")


async def test_two_processes_at_one_address(hub: Hub, join: Join) -> None:
    async with watching(hub) as seen:
        one, two = await join("worker"), await join("worker")
        await seen.until(lambda: len(registry_of(hub).instances("worker")) == 2)
        await one.aclose()
        await seen.gone("worker")
        assert [box.instance for box in registry_of(hub).instances("worker")] == [two.instance]


async def test_who_falls_silent_is_gone(hub: Hub, join: Join) -> None:
    async with watching(hub) as seen:
        silent = await join("silent", beats=False)
        silent.publish_signal("presence.beat", silent.live().wire())
        await seen.until(lambda: registry_of(hub).find_box("silent") is not None)
        gone = await seen.gone("silent")
        assert gone.box is not None
        assert "silent for" in gone.box.reason


async def test_nobody_speaks_for_another(hub: Hub, join: Join) -> None:
    mallory, ann = await join("mallory", beats=False), await join("ann")
    async with watching(hub) as seen:
        await seen.until(lambda: registry_of(hub).find_box("ann") is not None)
        mallory.publish_signal("presence.beat", LiveBox(id="bob").wire())
        mallory.publish_signal("presence.beat", LiveBox(id="mallory", kind="system").wire())
        mallory.publish_signal("presence.node", {"node": NodeInfo(name="n1").wire()})
        mallory.publish_signal("presence.goodbye", {"id": "ann", "instance": ann.instance})
        junk: list[Any] = [None, 5, {}, {"id": 7}, {"node": []}]
        for malformed in junk:
            for name in ("presence.beat", "presence.node", "presence.goodbye"):
                mallory.publish_signal(name, malformed)
        mallory.publish_signal("presence.beat", mallory.live().wire())
        await seen.until(lambda: registry_of(hub).find_box("mallory") is not None)  # after all of the above
        assert registry_of(hub).find_box("bob") is None
        assert registry_of(hub).find_nodes() == []
        assert registry_of(hub).find_box("ann") is not None
        mallory_now = registry_of(hub).find_box("mallory")
        assert mallory_now is not None
        assert mallory_now.kind == "attached"


async def test_a_node_speaks_for_what_is_on_it_only(hub: Hub, join: Join) -> None:
    node = StandInNode("n1", await join("_node-n1", kind="system", beats=False, runs_tasks=False))
    async with watching(hub) as seen:
        node.boxes["mine"] = LiveBox(id="mine", kind="live", node="n1")
        node.boxes["theirs"] = LiveBox(id="theirs", kind="live", node="n2")
        node.beat()
        await seen.until(lambda: len(registry_of(hub).find_nodes()) == 1)
        assert registry_of(hub).find_box("mine") is not None
        assert registry_of(hub).find_box("theirs") is None
        node.goodbye()
        await seen.gone("mine")
        await seen.until(lambda: registry_of(hub).find_nodes() == [])


async def test_a_restarted_hub_knows_again_who_lives(hub_settings: Callable[..., HubSettings], join: Join) -> None:
    async with Hub(hub_settings()):
        await join("planner")
    async with Hub(hub_settings()) as hub, watching(hub) as seen:
        await seen.until(lambda: registry_of(hub).find_box("planner") is not None)


async def test_nobody_is_gone_because_the_server_was(
    nats_server: NatsServer, hub_settings: Callable[..., HubSettings], tenant: str
) -> None:
    """Away for longer than anybody may be silent: agents could not beat, so their silence says nothing."""
    from box_agent.config import AgentSettings

    settings = hub_settings(nats_url=nats_server.url, silent_s=1.0)
    agent_settings = AgentSettings(nats_url=nats_server.url, tenant=tenant, beat_s=0.2, close_timeout_s=1)
    async with Hub(settings) as hub, watching(hub) as seen:
        async with await Agent.open("planner", url=nats_server.url, tenant=tenant, settings=agent_settings) as planner:
            await seen.until(lambda: registry_of(hub).find_box("planner") is not None)
            await nats_server.kill()
            await asyncio.sleep(2.0)  # nothing to wait on: the point is that nothing happens in this time
            assert not hub.agent.connection.connected
            await nats_server.start()
            for agent in (hub.agent, planner):
                await agent.connection.wait_connected(WAIT_S)
            assert (await planner.call("_hub", "box_get", id="planner", timeout_s=WAIT_S))["id"] == "planner"
            assert [c for c in seen.changes if c.kind == "box_gone" and c.box and c.box.id == "planner"] == []


async def test_a_feed_tells_what_changes(hub: Hub, join: Join) -> None:
    with registry_of(hub).feed() as feed:
        await join("planner")
        async with asyncio.timeout(WAIT_S):
            async for change in feed:
                if change is not None and change.box is not None and change.box.id == "planner":
                    break
