"""What nodes keep so that boxes start sooner: build ahead, explain, list, prune."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hub.registry import Registry
from hub.services.principal import Principal
from schemas.box import BoxDefinition, CacheEntry, Explanation
from schemas.errors import NotFound, PermissionDenied

MAX_BUILD_S = 3600.0


class WarmthService:
    """The nodes' caches as others see them."""

    def __init__(self, registry: Registry, principal: Principal) -> None:
        self._registry = registry
        self._principal = principal

    async def box_definition(self, name: str) -> BoxDefinition:
        """The registered Box of that name. Raises `NotFound`."""
        found = await self._registry.find_definition(name)
        if found is None:
            raise NotFound(f"no Box {name!r} is registered; `boxhub box build MODULE:NAME` does it", box=name)
        return found

    async def box_build(
        self, name: str, node: str = "", seconds: Annotated[float, Field(gt=0, le=MAX_BUILD_S)] = 600.0
    ) -> Explanation:
        """Make a registered Box ready on a node, so that its first spawn is warm. Raises what failed there."""
        return await self._registry.warmth.build(await self.box_definition(name), node, seconds)

    async def box_explain(self, definition: BoxDefinition, node: str = "") -> Explanation:
        """The layers of a Box, and which of them a node has."""
        return await self._registry.warmth.explain(definition, node)

    async def cache_list(self, node: str = "") -> list[CacheEntry]:
        """What the nodes keep, or one of them."""
        return await self._registry.warmth.entries(node)

    async def cache_prune(self, unused_s: Annotated[float, Field(ge=0)] = 0.0, node: str = "") -> list[CacheEntry]:
        """Let go what nothing stands on and nobody used for so long; 0: templates too. For people, not for agents."""
        if self._principal.kind == "agent":
            raise PermissionDenied("an agent cannot prune the caches of nodes; `boxhub cache prune` does")
        return await self._registry.warmth.prune(unused_s, node)
