"""Stops boxes whose owner is gone, and notes which boxes have ended: desired against observed, led by one replica."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from hub.registry.presence import Change
from hub.registry.registry import Registry
from hub.registry.spawned import Spawned
from schemas.errors import BoxhubError, StoreUnavailable
from schemas.subjects import HUB

_log = structlog.get_logger(__name__)

SCAN_S: Final = 5.0
PURGE_S: Final = 600.0
START_GRACE_S: Final = 5.0
_REMEMBERED: Final = 10_000


class Orphans:
    """``await Orphans(registry).run(token)`` under a lease. A lost wake-up costs at most a scan's time.

    An owner is gone when the processes that were its address at the time of the spawn have said goodbye, or when
    they are not heard after everybody had ``silent_s`` to be heard. A new process under the same address does
    not keep its predecessor's boxes. A box without an owner stays until somebody stops it.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._wake = asyncio.Event()
        self._left: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)  # (address, instance) that were seen to go
        self._purge_at = 0.0

    async def run(self, token: int) -> None:
        """Until cancelled."""
        unsubscribe: Callable[[], None] = self._registry.subscribe(self._changed)
        try:
            while True:
                self._wake.clear()
                try:
                    await self.scan()
                except StoreUnavailable as error:
                    _log.warning("orphans.store_unavailable", tenant=self._registry.tenant, error=str(error))
                try:
                    async with asyncio.timeout(SCAN_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            unsubscribe()

    async def scan(self) -> None:
        """Look at every box that has not ended, and do what is to be done about it."""
        for spawned in await self._registry.spawned.active():
            reason = self._why_to_stop(spawned)
            if reason:
                await self._stop(spawned, reason)
            elif self._has_ended(spawned):
                await self._registry.spawned.end(spawned.id, "its process is gone", revision=spawned.revision)
        if time.monotonic() > self._purge_at:
            self._purge_at = time.monotonic() + PURGE_S
            await self._registry.spawned.purge()

    # -------------------------------------------------------------------------------------------------------------

    def _why_to_stop(self, spawned: Spawned) -> str:
        if spawned.state == "starting" and time.time() > spawned.deadline_at + START_GRACE_S:
            return "nobody waits for it any longer"
        if spawned.owner and spawned.owner != HUB and self._is_gone(spawned.owner, spawned.owner_instances):
            return f"its owner {spawned.owner!r} is gone"
        return ""

    def _is_gone(self, owner: str, instances: tuple[str, ...]) -> bool:
        present = {box.instance for box in self._registry.instances(owner)}
        if instances:
            if present.intersection(instances):
                return False
            return self._registry.settled or all((owner, instance) in self._left for instance in instances)
        # It had not been heard of when it asked: all that is known is its address.
        return not present and self._registry.settled

    def _has_ended(self, spawned: Spawned) -> bool:
        """Ready once, and its node, which is to be heard, does not list it."""
        if spawned.state != "ready" or not self._registry.settled:
            return False
        known = self._registry.find_box(spawned.id)
        return known is None or known.node != spawned.node

    async def _stop(self, spawned: Spawned, reason: str) -> None:
        try:
            await self._registry.spawner.stop(spawned.id, reason)
            _log.info("box.orphan_stopped", tenant=self._registry.tenant, box=spawned.id, reason=reason)
        except StoreUnavailable:
            raise
        except BoxhubError as error:  # its node may come back; the next scan tries again
            _log.warning("box.orphan_not_stopped", box=spawned.id, node=spawned.node, error=str(error))

    def _changed(self, change: Change) -> None:
        if change.kind == "box_gone" and change.box is not None:
            self._left.append((change.box.id, change.box.instance))
        if change.kind in ("box_gone", "node_gone"):
            self._wake.set()
