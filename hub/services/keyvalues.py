"""Key-values: small JSON documents with a revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from context_store.branch_keyvalues import BranchKeyValues
from context_store.keyvalues import KeyValues
from context_store.store import Scope
from hub.config import Limits
from hub.services import bounds
from hub.services.principal import Principal
from schemas.errors import InvalidInput
from schemas.keyvalue import Entry, KeyChange


class KeyValueService:
    """The key-values of one tenant; with ``branch`` those of that branch, seen elsewhere once it is committed."""

    def __init__(self, scope: Scope, principal: Principal, limits: Limits) -> None:
        self._scope = scope
        self._limits = limits

    async def kv_get(self, key: str, branch: str = "") -> Entry | None:
        """The entry, or nothing when there is none (any more)."""
        return await self._on(branch).get(self._checked(key))

    async def kv_put(
        self,
        key: str,
        value: Any,
        expected_revision: int | None = None,
        ttl_s: float | None = None,
        branch: str = "",
    ) -> Entry:
        """Store a value; ``expected_revision`` 0: only if there is none. Raises `RevisionConflict`, `TerminalState`."""
        bounds.json_size(value, self._limits.value_bytes, f"the value of {key[:80]!r}")
        return await self._on(branch).put(self._checked(key), value, expected_revision=expected_revision, ttl_s=ttl_s)

    async def kv_delete(self, key: str, expected_revision: int | None = None, branch: str = "") -> bool:
        """Whether it was there. Raises `RevisionConflict`, `TerminalState`."""
        return await self._on(branch).delete(self._checked(key), expected_revision=expected_revision)

    async def kv_list(self, prefix: str = "", limit: int = 1000, branch: str = "") -> list[Entry]:
        """Entries in the order of their keys."""
        bounds.length(prefix, self._limits.key_length, "the prefix")
        return await self._on(branch).list(prefix, limit=bounds.at_most(limit, self._limits.list_items))

    async def kv_changes(self, branch: str) -> list[KeyChange]:
        """What the branch changed since its fork, in the order of the keys."""
        return list(await self._scope.keyvalues_on(branch).changes())

    async def kv_watch(self, prefix: str = "", branch: str = "") -> AsyncIterator[Entry]:
        """First the present entries, then every newer state, deletions included, until the reader leaves."""
        bounds.length(prefix, self._limits.key_length, "the prefix")
        async with self._on(branch).watch(prefix) as watch:
            async for entry in watch:
                yield entry

    def _on(self, branch: str) -> KeyValues | BranchKeyValues:
        return self._scope.keyvalues_on(branch) if branch else self._scope.keyvalues

    def _checked(self, key: str) -> str:
        if not key:
            raise InvalidInput("a key must not be empty")
        bounds.length(key, self._limits.key_length, "a key")
        return key
