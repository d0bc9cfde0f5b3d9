"""What nodes keep so that boxes start sooner: asked of the nodes themselves, nothing of it is stored here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from box_agent.box.explaining import explain
from hub.scheduler import Demand, Placement, place
from schemas.box import BoxDefinition, CacheEntry, Explanation, SpawnRequest
from schemas.errors import BoxNotFound, NoCapacity, NotFound
from schemas.node import NodeInfo, node_address

_ASK_S: Final = 30.0
_MARGIN_S: Final = 2.0


class Caller(Protocol):
    """What it needs of an agent."""

    async def call(self, box: str, skill: str, /, *, timeout_s: float, **kwargs: Any) -> Any: ...


class Warmth:
    """The caches of all nodes of one tenant."""

    def __init__(self, agent: Caller, nodes: Callable[[], Sequence[NodeInfo]]) -> None:
        self._agent = agent
        self._nodes = nodes

    async def build(self, definition: BoxDefinition, node: str, timeout_s: float) -> Explanation:
        """On ``node``, or where it would be spawned. Raises `NoCapacity`, `NotFound`, and what the build raised."""
        name = node or self._place(definition)
        answer = await self._agent.call(
            node_address(self._known(name)),
            "_box_build",
            timeout_s=timeout_s + _MARGIN_S,
            definition=definition.wire(),
            seconds=timeout_s,
        )
        return Explanation.model_validate(answer)

    async def explain(self, definition: BoxDefinition, node: str) -> Explanation:
        """What of it is cached on ``node``, or where it would be spawned; where no node can make it, why."""
        try:
            address = node_address(self._known(node or self._place(definition)))
        except NoCapacity as error:
            said = explain(definition)
            return said.model_copy(update={"notes": [*said.notes, error.message]})
        answer = await self._agent.call(address, "_box_explain", timeout_s=_ASK_S, definition=definition.wire())
        return Explanation.model_validate(answer)

    async def entries(self, node: str = "") -> list[CacheEntry]:
        """Of every node, or of one; of a node that has just gone, nothing."""
        return await self._each(node, "_cache_list")

    async def prune(self, unused_s: float, node: str = "") -> list[CacheEntry]:
        """What was let go."""
        return await self._each(node, "_cache_prune", unused_s=unused_s)

    async def _each(self, node: str, skill: str, **arguments: Any) -> list[CacheEntry]:
        names = [self._known(node)] if node else sorted(known.name for known in self._nodes())
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._entries(name, skill, **arguments)) for name in names]
        return [entry for task in asked for entry in task.result()]

    async def _entries(self, node: str, skill: str, **arguments: Any) -> list[CacheEntry]:
        try:
            rows = await self._agent.call(node_address(node), skill, timeout_s=_ASK_S, **arguments)
        except BoxNotFound:
            return []
        return [CacheEntry.model_validate(row) for row in rows]

    def _known(self, name: str) -> str:
        names = sorted(node.name for node in self._nodes())
        if name not in names:
            raise NotFound(f"no node {name!r}; there are: {', '.join(names) or 'none'}", node=name)
        return name

    def _place(self, definition: BoxDefinition) -> str:
        """The node it would be spawned on if all had room."""
        demand = Demand.of_spawn(SpawnRequest(id=definition.name, definition=definition))
        found = place(demand, [node.model_copy(update={"boxes": 0, "attempts": 0}) for node in self._nodes()])
        if not isinstance(found, Placement):
            raise found
        return found.node.name
