"""Small JSON documents with a revision, compare-and-set, a time to live and a watch."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from typing import Any

from box_agent.context.hub import Hub, interrupted
from schemas.errors import BoxhubError, InvalidInput
from schemas.keyvalue import Entry, KeyChange


class KeyValueClient:
    """The tenant's key-values, or those of one branch: `on`."""

    def __init__(self, hub: Hub, branch: str = "") -> None:
        self._hub = hub
        self._on: dict[str, Any] = {"branch": branch} if branch else {}

    def on(self, branch: str) -> KeyValueClient:
        """Those of a branch: others see what is written when it is committed, never if it is not. ``""``: the tenant's.

        A commit merges them key by key. Two different values are a conflict, as with files: its path is ``/keys/`` and
        the key, its contents are the values as JSON.
        """
        return KeyValueClient(self._hub, branch)

    async def get(self, key: str) -> Entry | None:
        found = await self._hub.call("kv_get", key=key, **self._on)
        return None if found is None else Entry.model_validate(found)

    async def put(
        self, key: str, value: Any, *, expected_revision: int | None = None, ttl_s: float | None = None
    ) -> Entry:
        """Store it. ``expected_revision`` 0 means: only if absent. Raises `RevisionConflict`."""
        return await self._hub.one(
            Entry,
            "kv_put",
            repeat=False,
            key=key,
            value=value,
            expected_revision=expected_revision,
            ttl_s=ttl_s,
            **self._on,
        )

    async def delete(self, key: str, *, expected_revision: int | None = None) -> bool:
        """Whether it was there. Raises `RevisionConflict`."""
        asked = {"key": key, "expected_revision": expected_revision, **self._on}
        return bool(await self._hub.call("kv_delete", repeat=False, **asked))

    async def list(self, prefix: str = "", limit: int = 1000) -> list[Entry]:
        return await self._hub.many(Entry, "kv_list", prefix=prefix, limit=limit, **self._on)

    async def changes(self) -> builtins.list[KeyChange]:
        """What the branch changed since its fork: `on` a branch only (`InvalidInput`)."""
        if not self._on:
            raise InvalidInput("only a branch has changes: keyvalues.on(branch).changes()")
        return await self._hub.many(KeyChange, "kv_changes", **self._on)

    async def watch(self, prefix: str = "") -> AsyncIterator[Entry]:
        """What is there now, then every change (``deleted`` entries included), until the reader leaves.

        Comes back by itself after a hub or server restart: entries whose revision was seen are not repeated, and a
        key that changed several times meanwhile is told with its latest value.
        """
        seen: dict[str, int] = {}
        while True:
            try:
                async for row in self._hub.stream("kv_watch", prefix=prefix, **self._on):
                    entry = Entry.model_validate(row)
                    if entry.revision > seen.get(entry.key, 0):
                        seen[entry.key] = entry.revision
                        yield entry
            except BoxhubError as error:
                await interrupted(error)
