"""Key-values: small JSON documents with a revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from context_store.store import Scope
from hub.config import Limits
from hub.services import bounds
from hub.services.principal import Principal
from schemas.errors import InvalidInput
from schemas.keyvalue import Entry


class KeyValueService:
    """The key-values of one tenant."""

    def __init__(self, scope: Scope, principal: Principal, limits: Limits) -> None:
        self._keyvalues = scope.keyvalues
        self._limits = limits

    async def kv_get(self, key: str) -> Entry | None:
        """The entry, or nothing when there is none (any more)."""
        return await self._keyvalues.get(self._checked(key))

    async def kv_put(
        self, key: str, value: Any, expected_revision: int | None = None, ttl_s: float | None = None
    ) -> Entry:
        """Store a value; ``expected_revision`` 0: only if there is none. Raises `RevisionConflict`."""
        bounds.json_size(value, self._limits.value_bytes, f"the value of {key[:80]!r}")
        return await self._keyvalues.put(self._checked(key), value, expected_revision=expected_revision, ttl_s=ttl_s)

    async def kv_delete(self, key: str, expected_revision: int | None = None) -> bool:
        """Whether it was there. Raises `RevisionConflict`."""
        return await self._keyvalues.delete(self._checked(key), expected_revision=expected_revision)

    async def kv_list(self, prefix: str = "", limit: int = 1000) -> list[Entry]:
        """Entries in the order of their keys."""
        bounds.length(prefix, self._limits.key_length, "the prefix")
        return await self._keyvalues.list(prefix, limit=bounds.at_most(limit, self._limits.list_items))

    async def kv_watch(self, prefix: str = "") -> AsyncIterator[Entry]:
        """First the present entries, then every newer state, deletions included, until the reader leaves."""
        bounds.length(prefix, self._limits.key_length, "the prefix")
        async with self._keyvalues.watch(prefix) as watch:
            async for entry in watch:
                yield entry

    def _checked(self, key: str) -> str:
        if not key:
            raise InvalidInput("a key must not be empty")
        bounds.length(key, self._limits.key_length, "a key")
        return key
