"""What a store needs now and then: old tombstones go, and what writers of blobs that died left behind."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from context_store.store import Scope
from schemas.errors import StoreUnavailable

_log = structlog.get_logger(__name__)

EVERY_S: Final = 3600.0
SWEEP_EVERY_S: Final = 24 * 3600.0
"""It looks at every blob."""


class Upkeep:
    """``await Upkeep(scope).run(token)`` under a lease."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def run(self, token: int) -> None:
        """Until cancelled."""
        swept_at = float("-inf")
        while True:
            swept = 0
            try:
                purged = await self._scope.keyvalues.purge()
                if (now := asyncio.get_running_loop().time()) - swept_at >= SWEEP_EVERY_S:
                    swept = await self._scope.blobs.sweep()
                    swept_at = now
            except StoreUnavailable as error:
                _log.warning("upkeep.store_unavailable", tenant=self._scope.tenant, error=str(error))
            else:
                _log.debug("upkeep.done", tenant=self._scope.tenant, tombstones=purged, parts=swept)
            await asyncio.sleep(EVERY_S)
