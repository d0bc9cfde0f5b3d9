"""`TemplateCache`: the templates that a driver holds warm, and which of them goes when there are too many."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from box_agent.driver import Template
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.templates import TemplateProcess
from schemas.box import BoxDefinition

if TYPE_CHECKING:
    from box_agent.driver import Blobs


@dataclass
class Warm:
    """A template and what it takes to make it again."""

    template: Template
    definition: BoxDefinition
    blobs: Blobs
    environment: Environment
    process: TemplateProcess
    memory_bytes: int = 0
    """When it was made; what it shares with others is counted in parts."""

    @property
    def usable(self) -> bool:
        return self.process.alive and not self.environment.expired


Build = Callable[[BoxDefinition, "Blobs"], Awaitable[Warm]]
"""Makes one that is not there. Cancelled, or when it raises, nothing of it is left."""


class TemplateCache:
    """At most ``most`` are kept, and of several not more than ``most_bytes`` of memory together (0: no such limit)."""

    def __init__(self, build: Build, most: int, most_bytes: int) -> None:
        self._build = build
        self._most = most
        self.most_bytes = most_bytes
        self._building: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._warm: OrderedDict[str, Warm] = OrderedDict()

    def __iter__(self) -> Iterator[Warm]:
        """Least recently used first."""
        return iter(list(self._warm.values()))

    def get(self, fingerprint: str) -> Warm | None:
        """As it is, which may be dead or expired. Not counted as use."""
        return self._warm.get(fingerprint)

    async def ready(self, definition: BoxDefinition, blobs: Blobs) -> Warm:
        """Warm and alive; several callers at once build it once."""
        fingerprint = definition.fingerprint
        lock = self._building.setdefault(fingerprint, asyncio.Lock())
        async with lock:
            warm = self._warm.get(fingerprint)
            if warm is None or not warm.usable:
                await self.drop(fingerprint)
                warm = self._warm[fingerprint] = await self._build(definition, blobs)
            self._warm.move_to_end(fingerprint)
        while self._too_many():
            await self.drop(next(iter(self._warm)))
        return warm

    async def drop(self, fingerprint: str) -> bool:
        """Let it go; its boxes go on. ``False`` when there is none."""
        warm = self._warm.pop(fingerprint, None)
        if warm is None:
            return False
        await warm.process.aclose()
        return True

    async def aclose(self) -> None:
        for warm in self:
            await warm.process.aclose()
        self._warm.clear()

    def _too_many(self) -> bool:
        if len(self._warm) > self._most:
            return True
        held = sum(warm.memory_bytes for warm in self._warm.values())
        return len(self._warm) > 1 and 0 < self.most_bytes < held
