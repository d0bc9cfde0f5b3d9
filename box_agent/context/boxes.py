"""The registry: who is there, what can be spawned, on which nodes."""

from __future__ import annotations

from builtins import list as List

from box_agent.context.hub import Hub
from schemas.box import BoxDefinition, CacheEntry, Explanation, LiveBox, SpawnRequest
from schemas.node import NodeInfo

_MARGIN_S = 5.0


class BoxClient:
    """The tenant's boxes and the nodes they run on."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def list(self) -> List[LiveBox]:
        return await self._hub.many(LiveBox, "boxes")

    async def nodes(self) -> List[NodeInfo]:
        return await self._hub.many(NodeInfo, "nodes")

    async def get(self, id: str) -> LiveBox:
        """Raises `BoxNotFound`."""
        return await self._hub.one(LiveBox, "box_get", id=id)

    async def register(self, definition: BoxDefinition) -> BoxDefinition:
        """Make a definition known by its name, for tasks that run in fresh boxes."""
        return await self._hub.one(BoxDefinition, "box_register", definition=definition.wire())

    async def definitions(self) -> List[BoxDefinition]:
        return await self._hub.many(BoxDefinition, "box_definitions")

    async def definition(self, name: str) -> BoxDefinition:
        """The registered Box of that name. Raises `NotFound`."""
        return await self._hub.one(BoxDefinition, "box_definition", name=name)

    async def build(self, name: str, *, node: str = "", timeout_s: float = 600.0) -> Explanation:
        """Make a registered Box ready on a node, so that its first spawn is warm. Raises what a step failed with."""
        margin = timeout_s + _MARGIN_S
        return await self._hub.one(Explanation, "box_build", timeout_s=margin, name=name, node=node, seconds=timeout_s)

    async def explain(self, definition: BoxDefinition, *, node: str = "") -> Explanation:
        """Its layers, and which of them a node has; without a node, nothing is said of that."""
        return await self._hub.one(Explanation, "box_explain", definition=definition.wire(), node=node)

    async def cache(self) -> List[CacheEntry]:
        """What the nodes keep so that boxes start sooner."""
        return await self._hub.many(CacheEntry, "cache_list")

    async def spawn(self, request: SpawnRequest) -> LiveBox:
        """A live box that is ready. Raises `NoCapacity`, `DriverUnavailable`, `DeadlineExceeded`."""
        timeout_s = request.timeout_s + _MARGIN_S
        return await self._hub.one(LiveBox, "box_spawn", timeout_s=timeout_s, request=request.wire())

    async def stop(self, id: str, reason: str = "") -> LiveBox:
        """Its processes have ended when this returns."""
        return await self._hub.one(LiveBox, "box_stop", id=id, reason=reason)
