"""Spawning through the hub: once per id, on another node when one fails, ended with its owner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from box_agent.agent import Agent
from hub.app import Hub
from hub.background import background
from hub.config import HubSettings
from hub.registry.orphans import Orphans
from schemas.box import BoxDefinition, SkillSpec, SpawnRequest
from schemas.errors import (
    AlreadyExists,
    BlobNotFound,
    BoxDied,
    BoxNotFound,
    DeadlineExceeded,
    IdempotencyConflict,
    InvalidInput,
    NoCapacity,
    Overloaded,
    PermissionDenied,
)
from tests.integration.hub.conftest import Join
from tests.integration.hub.stand_in_node import StandInNode
from tests.integration.hub.test_registry import WAIT_S, registry_of, watching

MakeNode = Callable[..., Awaitable[StandInNode]]


@pytest.fixture
async def make_node(hub: Hub, join: Join) -> AsyncIterator[MakeNode]:
    """Nodes that the hub has heard of, and goes on hearing."""
    async with background() as group:
        beating = []

        async def make(name: str, **info: object) -> StandInNode:
            agent = await join(f"_node-{name}", kind="system", beats=False, runs_tasks=False)
            node = StandInNode(name, agent, **info)
            async with watching(hub) as seen:
                beating.append(group.create_task(node.keep_beating()))
                await seen.until(lambda: name in {known.name for known in registry_of(hub).find_nodes()})
            return node

        yield make
        for task in beating:
            task.cancel()


def definition(name: str = "coffee", **fields: object) -> BoxDefinition:
    return BoxDefinition.model_validate({"name": name, "fingerprint": f"print-of-{name}", **fields})


def request(id: str = "", **fields: object) -> SpawnRequest:
    return SpawnRequest.model_validate({"id": id, "definition": definition(), "timeout_s": 5, **fields})


async def test_a_box_is_made_and_stopped(hub: Hub, join: Join, make_node: MakeNode) -> None:
    node, planner = await make_node("n1"), await join("planner")
    box = await planner.boxes.spawn(request("coffee-1"))
    assert (box.id, box.node, box.state, box.owner) == ("coffee-1", "n1", "ready", "planner")
    assert (await planner.boxes.get("coffee-1")).instance == box.instance
    stopped = await planner.boxes.stop("coffee-1", "enough")
    assert (stopped.state, stopped.reason) == ("stopped", "enough")
    assert node.boxes == {}
    with pytest.raises(BoxNotFound, match="enough"):
        await planner.boxes.get("coffee-1")
    again = await planner.boxes.stop("coffee-1")
    assert again.state == "stopped"
    assert len(node.stopped) == 1


async def test_a_box_without_an_id_gets_one_from_its_name(hub: Hub, join: Join, make_node: MakeNode) -> None:
    await make_node("n1")
    planner = await join("planner")
    one, two = await planner.boxes.spawn(request()), await planner.boxes.spawn(request())
    assert one.id.startswith("coffee-")
    assert one.id != two.id


async def test_the_same_id_is_the_same_box(hub: Hub, join: Join, make_node: MakeNode) -> None:
    """Asked for at the same time, one after the other, and through another hub."""
    nodes = [await make_node("n1"), await make_node("n2")]
    planner = await join("planner")
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(planner.boxes.spawn(request("coffee-1"))) for _ in range(8)]
    boxes = [task.result() for task in asked] + [await planner.boxes.spawn(request("coffee-1"))]
    assert len({box.instance for box in boxes}) == 1
    assert sum(len(node.boxes) for node in nodes) == 1
    with pytest.raises(IdempotencyConflict):
        await planner.boxes.spawn(request("coffee-1", definition=definition("tea")))


async def test_two_hubs_make_one_box(
    hub: Hub, hub_settings: Callable[..., HubSettings], join: Join, make_node: MakeNode
) -> None:
    nodes = [await make_node("n1"), await make_node("n2")]
    async with Hub(hub_settings()) as other:
        async with watching(other) as seen:
            await seen.until(lambda: len(registry_of(other).find_nodes()) == 2)
        tenant = hub.settings.tenant
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(h.services(tenant).registry.box_spawn(request("coffee-1"))) for h in (hub, other) * 4
            ]
        assert len({task.result().instance for task in asked}) == 1
        assert sum(len(node.boxes) for node in nodes) == 1


async def test_an_id_may_be_used_again_after_its_box_has_ended(hub: Hub, join: Join, make_node: MakeNode) -> None:
    await make_node("n1")
    planner = await join("planner")
    first = await planner.boxes.spawn(request("coffee-1"))
    await planner.boxes.stop("coffee-1")
    second = await planner.boxes.spawn(request("coffee-1", definition=definition("tea")))
    assert first.instance != second.instance


async def test_another_node_takes_over_when_one_cannot(hub: Hub, join: Join, make_node: MakeNode) -> None:
    full, other = await make_node("a-first"), await make_node("b-second", boxes=50)
    full.fail_with = Overloaded("too many boxes")
    planner = await join("planner")
    box = await planner.boxes.spawn(request("coffee-1"))
    assert (box.node, full.asked, other.asked) == ("b-second", ["coffee-1"], ["coffee-1"])
    assert full.stopped == [("coffee-1", "made elsewhere")]


async def test_no_node_can(hub: Hub, join: Join, make_node: MakeNode) -> None:
    node = await make_node("n1")
    node.fail_with = Overloaded("too many boxes")
    planner = await join("planner")
    with pytest.raises(NoCapacity, match="too many boxes"):
        await planner.boxes.spawn(request("coffee-1"))
    node.fail_with = None
    assert (await planner.boxes.spawn(request("coffee-1"))).node == "n1"


async def test_what_no_node_will_ever_have_is_refused_early(hub: Hub, join: Join, make_node: MakeNode) -> None:
    await make_node("n1")
    planner = await join("planner")
    started = time.monotonic()
    with pytest.raises(NoCapacity, match="vm") as refused:
        await planner.boxes.spawn(request(isolation="vm", timeout_s=30))
    assert time.monotonic() - started < 5
    assert "n1" in refused.value.details["reasons"]


async def test_room_is_waited_for(hub: Hub, join: Join, make_node: MakeNode) -> None:
    node = await make_node("n1", max_boxes=1, boxes=1)
    planner = await join("planner")
    async with asyncio.TaskGroup() as group, asyncio.timeout(WAIT_S):
        asked = group.create_task(planner.boxes.spawn(request(timeout_s=10)))
        await asyncio.sleep(1.0)  # longer than the time in which all nodes are heard of
        assert not asked.done()
        node.info.boxes = 0
        node.beat()
    assert asked.result().node == "n1"


async def test_a_node_that_comes_in_time(hub: Hub, join: Join, make_node: MakeNode) -> None:
    """A hub that has just started knows no node yet."""
    planner = await join("planner")
    async with asyncio.TaskGroup() as group:
        registry_of(hub)._heard_nothing()
        asked = group.create_task(planner.boxes.spawn(request()))
        await asyncio.sleep(0)
        await make_node("n1")
    assert asked.result().node == "n1"


async def test_a_box_that_is_not_ready_in_time_is_ended(hub: Hub, join: Join, make_node: MakeNode) -> None:
    node = await make_node("n1")
    node.hold = asyncio.Event()
    planner = await join("planner")
    with pytest.raises(DeadlineExceeded):
        await planner.boxes.spawn(request("coffee-1", timeout_s=0.5))
    async with asyncio.timeout(WAIT_S):
        await node.until_stopped("coffee-1")


async def test_what_fails_in_the_box_is_not_tried_elsewhere(hub: Hub, join: Join, make_node: MakeNode) -> None:
    nodes = [await make_node("n1"), await make_node("n2")]
    for node in nodes:
        node.fail_with = BoxDied("setup() raised", exit_code=1)
    planner = await join("planner")
    with pytest.raises(BoxDied):
        await planner.boxes.spawn(request())
    assert sum(len(node.asked) for node in nodes) == 1


async def test_what_cannot_be_spawned(hub: Hub, join: Join, make_node: MakeNode) -> None:
    await make_node("n1")
    planner = await join("planner")
    await join("taken")
    async with watching(hub) as seen:
        await seen.until(lambda: registry_of(hub).find_box("taken") is not None)
    with pytest.raises(AlreadyExists):
        await planner.boxes.spawn(request("taken"))
    with pytest.raises(InvalidInput):
        await planner.boxes.spawn(request("No Name"))
    with pytest.raises(InvalidInput):
        await planner.boxes.spawn(request(timeout_s=-1))
    with pytest.raises(InvalidInput, match="fingerprint"):
        await planner.boxes.spawn(request(definition=BoxDefinition(name="x")))
    with pytest.raises(BlobNotFound):
        await planner.boxes.spawn(request(definition=definition(code="5" * 64, skills=[SkillSpec(name="s")])))
    with pytest.raises(PermissionDenied):
        await planner.boxes.spawn(request(owner="somebody-else"))
    with pytest.raises(InvalidInput, match="attached"):
        await planner.boxes.stop("taken")
    with pytest.raises(BoxNotFound):
        await planner.boxes.stop("ghost")


async def test_definitions_are_kept_by_name(hub: Hub, join: Join) -> None:
    planner = await join("planner")
    await planner.boxes.register(definition("coffee", version="1"))
    await planner.boxes.register(definition("tea"))
    await planner.boxes.register(definition("coffee", version="2"))
    assert [(d.name, d.version) for d in await planner.boxes.definitions()] == [("coffee", "2"), ("tea", "0")]
    found = await registry_of(hub).find_definition("coffee")
    assert found is not None
    assert found.version == "2"
    assert await registry_of(hub).find_definition("none") is None


# --- owners ------------------------------------------------------------------------------------------------------


async def owned_box(hub: Hub, owner: Agent, node: StandInNode) -> str:
    """A box whose owner the hub had heard of."""
    async with watching(hub) as seen:
        await seen.until(lambda: bool(registry_of(hub).instances(owner.address)))
    return (await owner.boxes.spawn(request())).id


async def until_stopped(node: StandInNode, box: str) -> str:
    async with asyncio.timeout(WAIT_S):
        return await node.until_stopped(box)


async def test_boxes_end_with_their_owner(hub: Hub, join: Join, make_node: MakeNode) -> None:
    node = await make_node("n1")
    planner, other = await join("planner"), await join("other")
    mine, theirs = await owned_box(hub, planner, node), await owned_box(hub, other, node)
    started = time.monotonic()
    await planner.aclose()
    assert "planner" in await until_stopped(node, mine)
    assert time.monotonic() - started < 5
    assert theirs in node.boxes


async def test_a_successor_does_not_keep_its_predecessors_boxes(hub: Hub, join: Join, make_node: MakeNode) -> None:
    node = await make_node("n1")
    first = await join("planner")
    box = await owned_box(hub, first, node)
    await join("planner")
    await first.aclose()
    await until_stopped(node, box)


async def test_an_owner_that_is_killed_is_noticed(hub: Hub, join: Join, make_node: MakeNode) -> None:
    """No goodbye: it is just not heard any more."""
    node = await make_node("n1")
    planner = await join("planner", beats=False)
    planner.publish_signal("presence.beat", planner.live().wire())
    box = await owned_box(hub, planner, node)
    assert "planner" in await until_stopped(node, box)


async def test_boxes_of_an_owner_that_left_while_no_hub_ran(
    hub_settings: Callable[..., HubSettings], join: Join
) -> None:
    planner = await join("planner")
    node = StandInNode("n1", await join("_node-n1", kind="system", beats=False, runs_tasks=False))
    async with background() as group:
        beating = group.create_task(node.keep_beating())
        async with Hub(hub_settings()) as hub:
            box = await owned_box(hub, planner, node)
        await planner.aclose()
        assert box in node.boxes
        async with Hub(hub_settings()):
            await until_stopped(node, box)
        beating.cancel()


async def test_a_box_of_an_operator_stays(hub: Hub, make_node: MakeNode) -> None:
    node = await make_node("n1")
    registry = hub.services(hub.settings.tenant).registry
    box = await registry.box_spawn(request())
    assert box.owner == ""
    async with watching(hub) as seen:
        await asyncio.sleep(2 * hub.settings.silent_s)  # the point is that nothing happens in this time
        gone = [change.box for change in seen.changes if change.kind == "box_gone"]
    assert not [box.reason for box in gone if box and "silent" not in box.reason]  # as a busy machine lets it be
    assert box.id in node.boxes


async def test_a_box_that_dies_is_noted(hub: Hub, join: Join, make_node: MakeNode) -> None:
    node, planner = await make_node("n1"), await join("planner")
    box = await planner.boxes.spawn(request("coffee-1"))
    node.boxes.clear()
    async with watching(hub) as seen:
        await seen.gone(box.id)
    async with asyncio.timeout(WAIT_S):
        while not registry_of(hub).settled:  # noqa: ASYNC110 - one who has just begun to listen declares nobody dead
            await asyncio.sleep(0.05)
    await Orphans(registry_of(hub)).scan()
    with pytest.raises(BoxNotFound, match="its process is gone"):
        await planner.boxes.get(box.id)
