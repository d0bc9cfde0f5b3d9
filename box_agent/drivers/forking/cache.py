"""`TemplateCache`: the templates that a driver holds warm, a tree of prefixes, and which of them goes when it must."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from box_agent.driver import Template
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.templates import TemplateProcess
from box_agent.worker import processes
from schemas.box import BoxDefinition, WarmState

if TYPE_CHECKING:
    from box_agent.driver import Blobs

_REASONS: Final = 256
"""Why templates are gone, of so many; older reasons are forgotten."""


@dataclass
class Warm:
    """A template and what it takes to make it again."""

    template: Template
    definition: BoxDefinition
    blobs: Blobs
    environment: Environment
    process: TemplateProcess
    used_at: float = field(default_factory=time.time)

    @property
    def usable(self) -> bool:
        return self.process.alive and not self.environment.expired

    def memory_bytes(self) -> int:
        """Now. What it shares, with its prefix and with its boxes for the most part, is counted in parts. Blocking."""
        return processes.proportional_bytes(self.process.process.pid) if self.process.alive else 0


Build = Callable[[BoxDefinition, "Blobs"], Awaitable[Warm]]
"""Makes one that is not there. Cancelled, or when it raises, nothing of it is left."""


class TemplateCache:
    """At most ``most`` are kept, and of several not more than ``most_bytes`` of memory together (0: no such limit).

    The least recently used goes first, but none that another one is a fork of: nearly all its memory is shared with
    that one, so nothing would be gained.
    """

    def __init__(self, build: Build, most: int, most_bytes: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self._build = build
        self._building: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._warm: OrderedDict[str, Warm] = OrderedDict()
        self._held: Counter[str] = Counter()
        self._gone: OrderedDict[str, str] = OrderedDict()

    def __iter__(self) -> Iterator[Warm]:
        """Least recently used first."""
        return iter(list(self._warm.values()))

    def get(self, fingerprint: str) -> Warm | None:
        """As it is, which may be dead or expired. Not counted as use."""
        return self._warm.get(fingerprint)

    async def ready(self, definition: BoxDefinition, blobs: Blobs) -> Warm:
        """Warm and alive; several callers at once build it once. ``definition`` is the one that it has from now on."""
        warm = await self._there(definition, blobs)
        warm.definition, warm.blobs = definition, blobs
        return warm

    @asynccontextmanager
    async def prefix(self, definition: BoxDefinition, blobs: Blobs) -> AsyncIterator[Warm]:
        """As `ready`, for another one to be forked from it: it is not let go meanwhile."""
        self._held[definition.fingerprint] += 1
        try:
            yield await self._there(definition, blobs)
        finally:
            self._held -= Counter([definition.fingerprint])

    async def _there(self, definition: BoxDefinition, blobs: Blobs) -> Warm:
        fingerprint = definition.fingerprint
        made = False
        lock = self._building.setdefault(fingerprint, asyncio.Lock())
        async with lock:
            warm = self._warm.get(fingerprint)
            if warm is None or not warm.usable:
                await self._drop(fingerprint, self.why_cold(fingerprint))
                warm = self._warm[fingerprint] = await self._build(definition, blobs)
                made = True
            self._touch(fingerprint)
        if made:
            await self._let_go(fingerprint)
        return warm

    def _touch(self, fingerprint: str) -> None:
        """Its prefixes were used with it."""
        warm = self._warm[fingerprint]
        warm.used_at = time.time()
        line = [fingerprint]
        while (below := self._warm.get(warm.template.prefix)) is not None:
            warm = below
            line.append(warm.template.fingerprint)
        for one in reversed(line):
            self._warm.move_to_end(one)

    # --- letting go ---------------------------------------------------------------------------------------------------

    async def _let_go(self, newest: str) -> None:
        """What is too much, but for the one that was just made."""
        while why := await self._too_much():
            standing_on = {warm.template.prefix for warm in self._warm.values()}
            free = (f for f in self._warm if f != newest and f not in standing_on and not self._held[f])
            fingerprint = next(free, None)
            if fingerprint is None:
                return
            await self._drop(fingerprint, why)

    async def _too_much(self) -> str:
        if len(self._warm) > self.most:
            return f"it was the least recently used of more than {self.most} templates"
        if self.most_bytes > 0 and len(self._warm) > 1:
            held = await asyncio.to_thread(lambda: sum(warm.memory_bytes() for warm in self))
            if held > self.most_bytes:
                return f"it was the least recently used, and templates took {_mib(held)} of {_mib(self.most_bytes)}"
        return ""

    async def remove(self, fingerprint: str, why: str = "it was removed") -> bool:
        """With those that are forks of it; their boxes go on. ``False`` when there is none."""
        for above in [f for f, warm in self._warm.items() if warm.template.prefix == fingerprint]:
            await self.remove(above, f"{why} with what it stands on")
        return await self._drop(fingerprint, why)

    async def _drop(self, fingerprint: str, why: str) -> bool:
        warm = self._warm.pop(fingerprint, None)
        if warm is None:
            return False
        self._gone[fingerprint] = why
        while len(self._gone) > _REASONS:
            self._gone.popitem(last=False)
        await warm.process.aclose()
        return True

    async def aclose(self) -> None:
        for warm in self:
            await warm.process.aclose()
        self._warm.clear()

    # --- for people ---------------------------------------------------------------------------------------------------

    def why_cold(self, fingerprint: str) -> str:
        """Empty for one that is warm."""
        warm = self._warm.get(fingerprint)
        if warm is None:
            return self._gone.get(fingerprint, "it was not made here yet")
        if warm.environment.expired:
            return "a layer that it stands on has become too old"
        return "" if warm.process.alive else "its process has ended"

    def state(self, definition: BoxDefinition) -> WarmState:
        """Blocking, for a fraction of a millisecond."""
        fingerprint = definition.fingerprint
        warm, why = self._warm.get(fingerprint), self.why_cold(fingerprint)
        if warm is None or why:
            return WarmState(fingerprint=fingerprint, parts=definition.parts, why=why)
        return WarmState(
            fingerprint=fingerprint,
            parts=definition.parts,
            prefix=warm.template.prefix,
            warm=True,
            built_s=warm.template.built_s,
            memory_bytes=warm.memory_bytes(),
            used_at=warm.used_at,
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
