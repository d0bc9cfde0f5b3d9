"""Ends live boxes that a node reports and no record wants there: left behind by a stop that did not get through, or
made on a node that had been given up.

Boxes of task attempts have no record of their own; they belong to the hub's address, live by the lease of their
attempt and are none of this module's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from hub.registry.registry import Registry
from hub.registry.spawned import Spawned
from schemas.box import LiveBox
from schemas.errors import BoxhubError, StoreUnavailable
from schemas.node import node_address
from schemas.subjects import HUB

if TYPE_CHECKING:
    from box_agent.agent import Agent

_log = structlog.get_logger(__name__)

SCAN_S: Final = 5.0
GRACE_S: Final = 10.0
STOP_S: Final = 20.0

Key = tuple[str, str, str]
"""(address, instance, node)"""


def find_strays(wanted: Mapping[str, Spawned], observed: Iterable[LiveBox]) -> dict[Key, LiveBox]:
    """The boxes of ``observed`` that no record of ``wanted`` (by address) places where they are. Pure."""
    strays: dict[Key, LiveBox] = {}
    for box in observed:
        if box.kind != "live" or not box.node or box.owner == HUB or box.state in ("stopping", "stopped", "failed"):
            continue
        record = wanted.get(box.id)
        if record is None or record.node != box.node:
            strays[box.id, box.instance, box.node] = box
    return strays


class Strays:
    """``await Strays(registry, agent).run(token)`` under a lease. Ends what was a stray for ``grace_s`` on end."""

    def __init__(
        self,
        registry: Registry,
        agent: Agent,
        *,
        grace_s: float = GRACE_S,
        scan_s: float = SCAN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._agent = agent
        self._grace_s = grace_s
        self._scan_s = scan_s
        self._clock = clock
        self._since: dict[Key, float] = {}

    async def run(self, token: int) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.scan()
            except StoreUnavailable as error:
                _log.warning("strays.store_unavailable", tenant=self._registry.tenant, error=str(error))
            await asyncio.sleep(self._scan_s)

    async def scan(self) -> None:
        """One look at all boxes; the view is taken before the records, so a box made meanwhile is no stray."""
        observed = self._registry.boxes()
        if not find_strays({}, observed):
            return
        wanted = {spawned.id: spawned for spawned in await self._registry.spawned.active()}
        strays, now = find_strays(wanted, observed), self._clock()
        self._since = {key: self._since.get(key, now) for key in strays}
        for key, box in strays.items():
            if now - self._since[key] >= self._grace_s:
                await self._end(box)

    async def _end(self, box: LiveBox) -> None:
        try:
            await self._agent.call(
                node_address(box.node), "_box_stop", id=box.id, reason="no record wants it", timeout_s=STOP_S
            )
            _log.info("box.stray_ended", tenant=self._registry.tenant, box=box.id, node=box.node)
        except BoxhubError as error:  # it has ended meanwhile, or its node is away; the next scan sees which
            _log.warning("box.stray_not_ended", box=box.id, node=box.node, error=str(error))
