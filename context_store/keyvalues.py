"""Key-values: small JSON values with a revision, compare-and-set, and time to live.

The revision of a key is that of its record, and a deleted key leaves a record behind (a tombstone), so the
revision never goes back. `KeyValues.purge` removes old tombstones after raising a floor above them; a key that is
made anew starts above the floor.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from context_store.backend import Collection, Document, Record, Records
from context_store.key_trees import document, not_at
from context_store.wakeups import Wakeups
from context_store.watch import Watch
from schemas.errors import AlreadyExists, InvalidInput, RevisionConflict
from schemas.keyvalue import Entry

KEYVALUES: Final = Collection("keyvalues", indexes=("deleted", "updated_at"))
FLOORS: Final = Collection("keyvalue_floors")

_MAX_LIST: Final = 10_000
_RETRIES: Final = 100


class KeyValues:
    """The key-values of one tenant."""

    def __init__(
        self,
        records: Records,
        floors: Records,
        wakeups: Wakeups,
        changes: Callable[[], Awaitable[object | None]],
        *,
        clock: Callable[[], float] = time.time,
        poll_s: float = 1.0,
    ) -> None:
        self._records = records
        self._floors = floors
        self._wakeups = wakeups
        self._changes = changes
        self._clock = clock
        self._poll_s = poll_s

    async def get(self, key: str) -> Entry | None:
        """The entry, or ``None`` if it is absent, deleted or expired."""
        record = await self._records.get(key)
        return None if record is None or self._gone(record) else _entry(record)

    async def put(
        self, key: str, value: Any, *, expected_revision: int | None = None, ttl_s: float | None = None
    ) -> Entry:
        """Store a value. ``expected_revision=0``: only if the key is not there now.

        ``ttl_s``: the entry is gone that many seconds later; ``None`` keeps it. Raises `RevisionConflict`
        (``details["actual"]``: the revision there, 0 if none), `PayloadTooLarge` beyond 1 MiB of JSON.
        """
        doc = document(key, value, self._clock(), ttl_s)
        stored = await self._write(key, doc, expected_revision)
        assert stored is not None  # None says "nothing to delete"
        return stored

    async def delete(self, key: str, *, expected_revision: int | None = None) -> bool:
        """Remove the entry; False if it was not there. Raises `RevisionConflict` as `put` does."""
        doc = {"deleted": True, "updated_at": self._clock()}
        return await self._write(key, doc, expected_revision, only_present=True) is not None

    async def list(self, prefix: str = "", *, limit: int = 1000, after: str | None = None) -> list[Entry]:
        """Up to ``limit`` (at most 10,000) entries in key order; page with ``after``, the last key seen."""
        if not 1 <= limit <= _MAX_LIST:
            raise InvalidInput(f"limit {limit}: use 1 to {_MAX_LIST}")
        found: list[Entry] = []
        while len(found) < limit:
            size = min(limit - len(found) + 16, _MAX_LIST)
            page = await self._records.find({"deleted": None}, prefix=prefix, after=after, limit=size)
            found += [_entry(record) for record in page if not self._gone(record)]
            if len(page) < size:
                break
            after = page[-1].key
        return found[:limit]

    def watch(self, prefix: str = "") -> Watch:
        """First the present entries, then every newer state, deletions and expiries included, until closed.

        Several changes of one key may come as the last of them; the last one always comes. Changes by this
        process come at once, those by others within ``poll_s``. While the database is unreachable it waits for it.
        """
        return Watch(self.states, self._expire, self._wakeups, self._changes, prefix, self._clock, self._poll_s)

    async def states(self, prefix: str) -> AsyncIterator[tuple[Entry, bool]]:
        """Every key that ever was (since the last purge), tombstones included, and whether it has expired."""
        after: str | None = None
        while True:
            page = await self._records.find(prefix=prefix, after=after, limit=1000)
            for record in page:
                entry = _entry(record)
                yield entry, not entry.deleted and self._gone(record)
            if len(page) < 1000:
                return
            after = page[-1].key

    async def purge(self, *, older_than_s: float = 24 * 3600) -> int:
        """Forget tombstones older than that; returns how many. Revisions still never repeat. O(tombstones)."""
        latest = self._clock() - older_than_s
        purged = 0
        after: Record | None = None
        while page := await self._records.find({"deleted": True}, after=after, order="key", limit=500):
            old = [record for record in page if record.doc["updated_at"] <= latest]
            if old:
                await self._raise_floor(max(record.revision for record in old))
            for record in old:
                try:
                    purged += await self._records.delete(record.key, expected=record.revision)
                except RevisionConflict:
                    pass  # it is in use again
            after = page[-1]
        return purged

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _write(
        self, key: str, doc: Document, expected: int | None, *, only_present: bool = False
    ) -> Entry | None:
        """Compare-and-set against what is there, again when another writer was faster."""
        for attempt in range(_RETRIES):
            record = await self._records.get(key)
            actual = 0 if record is None or self._gone(record) else record.revision
            if expected is not None and expected != actual:
                raise not_at(key, expected, actual)
            if only_present and actual == 0:
                return None
            try:
                revision = await self._store(key, doc, record)
            except (RevisionConflict, AlreadyExists):
                if attempt:
                    await asyncio.sleep(random.random() * 0.001 * min(attempt, 20))
                continue
            self._wakeups.notify()
            return _entry(Record(key, revision, doc))
        raise RevisionConflict(f"key {key!r} is written too often: {_RETRIES} tries were overtaken", key=key)

    async def _store(self, key: str, doc: Document, record: Record | None) -> int:
        if record is not None:
            return await self._records.replace(key, doc, expected=record.revision)
        # Read after the record was seen to be absent: a purge raises the floor before it deletes.
        floor = await self._floors.get("floor")
        return await self._records.insert(key, doc, revision=1 + (floor.doc["revision"] if floor else 0))

    async def _expire(self, entry: Entry) -> None:
        """Turn an expired entry into a tombstone, so that watchers everywhere learn of it."""
        doc = {"deleted": True, "updated_at": self._clock()}
        try:
            await self._records.replace(entry.key, doc, expected=entry.revision)
        except RevisionConflict:
            pass  # written or expired by another; its state will be seen

    async def _raise_floor(self, revision: int) -> None:
        try:
            await self._floors.insert("floor", {"revision": revision})
        except AlreadyExists:
            await self._floors.update(
                "floor", lambda doc: {"revision": revision} if doc["revision"] < revision else None
            )

    def _gone(self, record: Record) -> bool:
        expires_at = record.doc.get("expires_at")
        return bool(record.doc.get("deleted")) or (expires_at is not None and expires_at <= self._clock())


def _entry(record: Record) -> Entry:
    doc = record.doc
    return Entry(
        key=record.key,
        value=doc.get("value"),
        revision=record.revision,
        updated_at=doc["updated_at"],
        expires_at=doc.get("expires_at"),
        deleted=bool(doc.get("deleted")),
    )
