"""Boxes and nodes: who is there, what can be spawned, spawn and stop."""

from __future__ import annotations

from hub.config import Limits
from hub.registry import Registry
from hub.services.principal import Principal
from schemas.box import BoxDefinition, LiveBox, SpawnRequest
from schemas.errors import BoxNotFound, InvalidInput, PermissionDenied
from schemas.node import NodeInfo

MAX_SPAWN_S = 600.0


class RegistryService:
    """The registry of one tenant as others see it."""

    def __init__(self, registry: Registry, principal: Principal, limits: Limits) -> None:
        self._registry = registry
        self._principal = principal
        self._limits = limits

    async def boxes(self) -> list[LiveBox]:
        """Every address that lives: live boxes, attached agents, system addresses; one row per instance."""
        return self._registry.boxes()

    async def nodes(self) -> list[NodeInfo]:
        """Every node that is not gone."""
        return list(self._registry.find_nodes())

    async def box_get(self, id: str) -> LiveBox:
        """The newest instance at an address. Raises `BoxNotFound`, which says how it ended if that is known."""
        present = self._registry.find_box(id)
        if present is not None:
            return present
        record = await self._registry.spawned.get(id)
        if record is not None and record.state == "ready" and record.box is not None:
            return record.box  # made a moment ago, or through another hub: not heard of yet
        if record is not None and record.state == "ended":
            raise BoxNotFound(f"box {id!r} has ended: {record.reason or 'stopped'}", box=id, reason=record.reason)
        raise BoxNotFound(f"no box {id!r}", box=id)

    async def box_register(self, definition: BoxDefinition) -> BoxDefinition:
        """Make a definition known by its name, in place of an older one; its blobs must be stored."""
        return await self._registry.definitions.put(definition)

    async def box_definitions(self) -> list[BoxDefinition]:
        """The most recently registered first."""
        return await self._registry.definitions.list(self._limits.list_items)

    async def box_spawn(self, request: SpawnRequest) -> LiveBox:
        """A live box that is ready; the same id again is the same box.

        It belongs to who asks, and ends when its owner is gone; one that was asked for through the gateway stays until
        it is stopped. Raises `NoCapacity`, `DriverUnavailable`, `DeadlineExceeded`, `BlobNotFound`.
        """
        if not 0 < request.timeout_s <= MAX_SPAWN_S:
            raise InvalidInput(f"timeout_s {request.timeout_s:g}: use more than 0, at most {MAX_SPAWN_S:g}")
        return await self._registry.spawner.spawn(request.model_copy(update={"owner": self._owner(request.owner)}))

    async def box_stop(self, id: str, reason: str = "") -> LiveBox:
        """End a live box; its processes have ended when this returns. Again, it is fine."""
        return await self._registry.spawner.stop(id, reason or self._stopped_by())

    def _owner(self, wanted: str) -> str:
        """Agents own what they spawn; only the system may spawn for another."""
        own = self._principal.owner
        if self._principal.kind == "agent" and wanted not in ("", own):
            raise PermissionDenied(f"{own!r} cannot spawn a box for {wanted!r}", owner=wanted)
        return wanted or own

    def _stopped_by(self) -> str:
        return f"stopped by {self._principal.address or self._principal.kind}"
