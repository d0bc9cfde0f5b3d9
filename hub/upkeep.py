"""What a store needs now and then: old tombstones go."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from context_store.store import Scope
from schemas.errors import StoreUnavailable

_log = structlog.get_logger(__name__)

EVERY_S: Final = 3600.0


class Upkeep:
    """``await Upkeep(scope).run(token)`` under a lease."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def run(self, token: int) -> None:
        """Until cancelled."""
        while True:
            try:
                purged = await self._scope.keyvalues.purge()
            except StoreUnavailable as error:
                _log.warning("upkeep.store_unavailable", tenant=self._scope.tenant, error=str(error))
            else:
                _log.debug("upkeep.done", tenant=self._scope.tenant, tombstones=purged)
            await asyncio.sleep(EVERY_S)
