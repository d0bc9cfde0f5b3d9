"""What a node keeps so that boxes start sooner: built ahead, explained, listed, let go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from box_agent.box.explaining import explain
from schemas.box import BoxDefinition, CacheEntry, Explanation, SpawnRequest, WarmState
from schemas.errors import DeadlineExceeded

if TYPE_CHECKING:
    from box_agent.driver import Driver
    from box_agent.node.blobs import NodeBlobs
    from box_agent.node.drivers import Drivers


class Warmth:
    """Templates, environments and blobs of one node."""

    def __init__(self, node: str, drivers: Drivers, blobs: NodeBlobs) -> None:
        self._node = node
        self._drivers = drivers
        self._blobs = blobs

    async def build(self, definition: BoxDefinition, timeout_s: float) -> Explanation:
        """Make it ready; what `explain` says then. Raises what a step or ``setup`` failed with, `DeadlineExceeded`."""
        driver = self._driver(definition)
        try:
            async with asyncio.timeout(timeout_s):
                await driver.build_template(definition, self._blobs)
        except TimeoutError:
            raise DeadlineExceeded(
                f"box {definition.name!r} was not built within {timeout_s:g} s", timeout="build", seconds=timeout_s
            ) from None
        return await self.explain(definition)

    async def explain(self, definition: BoxDefinition) -> Explanation:
        """Layers with what is cached here, and notes. Makes nothing."""
        driver, said = self._driver(definition), explain(definition)
        states = await asyncio.to_thread(driver.explain, definition)
        layers = [
            layer.model_copy(update={"cached": state.cached, "expires_at": state.expires_at})
            for layer, state in zip(said.layers, states, strict=True)
        ]
        warm = next((t for t in driver.templates if t.fingerprint == definition.fingerprint), None)
        notes = [*said.notes, *(warm.notes if warm is not None else ())]
        templates = list(await asyncio.to_thread(driver.warmth, definition))
        return said.model_copy(update={"layers": layers, "node": self._node, "templates": templates, "notes": notes})

    async def entries(self) -> list[CacheEntry]:
        """Warm templates, layers of environments, and the blobs as one entry."""
        found: list[CacheEntry] = []
        for driver in self._drivers.usable:
            name = driver.info.name
            found += [self._template(state, name) for state in await asyncio.to_thread(driver.warmth)]
            layers = await asyncio.to_thread(driver.cached)
            found += [entry.model_copy(update={"driver": name, "node": self._node}) for entry in layers]
        count, size = await asyncio.to_thread(self._blobs.cache.usage)
        found.append(CacheEntry(kind="blobs", id="blobs", what=f"{count} blobs", node=self._node, size_bytes=size))
        return found

    async def prune(self, unused_s: float) -> list[CacheEntry]:
        """Let go templates without boxes, when everything may go, and layers that nobody used for so long."""
        gone: list[CacheEntry] = []
        for driver in self._drivers.usable:
            name = driver.info.name
            states = await asyncio.to_thread(driver.warmth) if unused_s <= 0 else ()
            for state in states:
                await driver.remove_template(state.fingerprint)
            left = {template.fingerprint for template in driver.templates}
            gone += [self._template(state, name) for state in states if state.fingerprint not in left]
            layers = await asyncio.to_thread(driver.prune, unused_s)
            gone += [entry.model_copy(update={"driver": name, "node": self._node}) for entry in layers]
        return gone

    def _driver(self, definition: BoxDefinition) -> Driver:
        return self._drivers.choose(SpawnRequest(id=definition.name, definition=definition))

    def _template(self, state: WarmState, driver: str) -> CacheEntry:
        return CacheEntry(
            kind="template",
            id=state.fingerprint,
            what=f"{' + '.join(state.parts)}, built in {state.built_s:.2f} s" + (f"; {state.why}" if state.why else ""),
            driver=driver,
            node=self._node,
            size_bytes=state.memory_bytes,
            used_at=state.used_at,
            in_use=True,
            prefix=state.prefix,
        )
