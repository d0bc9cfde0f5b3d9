"""Key-values of a branch: written there, seen there and in forks made afterwards, published by the commit."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

from context_store.branch_records import Stored, ended
from context_store.commits import Commits
from context_store.key_trees import KeyTrees, document, packed, path_of, same, unpacked
from context_store.trees import Trees
from context_store.wakeups import Wakeups
from context_store.watch import Watch
from schemas.errors import InvalidInput, RevisionConflict
from schemas.keyvalue import Entry, KeyChange

_MAX_LIST: Final = 10_000
_RETRIES: Final = 200


class KeyValuesOfBranches:
    """What those of all branches of a tenant have in common."""

    def __init__(
        self,
        branches: Commits,
        trees: Trees,
        wakeups: Wakeups,
        changes: Callable[[], Awaitable[object | None]],
        *,
        clock: Callable[[], float] = time.time,
        poll_s: float = 1.0,
    ) -> None:
        self.branches = branches
        self.trees = trees
        self.keys = KeyTrees(trees)
        self.wakeups = wakeups
        self.changes = changes
        self.clock = clock
        self.poll_s = poll_s
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, branch: str) -> BranchKeyValues:
        return BranchKeyValues(self, branch)

    def lock(self, branch: str) -> asyncio.Lock:
        """For speed: writers of this process queue up instead of racing in the database."""
        return self._locks.setdefault(branch, asyncio.Lock())


class BranchKeyValues:
    """The key-values of one branch, with the methods of `KeyValues`.

    They are a pointer in the record of the branch to a tree (`key_trees`), so a write is a compare-and-set of that
    record. Every write takes the next number of the branch as the revision of its key; a key that was deleted and made
    anew so never has an old one again.
    """

    def __init__(self, shared: KeyValuesOfBranches, branch: str) -> None:
        self._of = shared
        self._branch = branch

    async def get(self, key: str) -> Entry | None:
        """The entry, or ``None`` if it is absent or expired. Raises `BranchNotFound`."""
        return self._alive(await self._of.keys.get(await self._tree(), key))

    async def put(
        self, key: str, value: Any, *, expected_revision: int | None = None, ttl_s: float | None = None
    ) -> Entry:
        """Store a value as `KeyValues.put` does. Raises `TerminalState` too, once the branch has ended."""
        doc = document(key, value, self._of.clock(), ttl_s)
        stored = await self._write(key, lambda revision: packed(key, doc, revision), expected_revision)
        assert stored is not None  # None says "nothing to delete"
        return unpacked(packed(key, doc, stored))

    async def delete(self, key: str, *, expected_revision: int | None = None) -> bool:
        """Remove the entry; False if it was not there. Raises `RevisionConflict`, `TerminalState`."""
        return await self._write(key, None, expected_revision) is not None

    async def list(self, prefix: str = "", *, limit: int = 1000, after: str | None = None) -> list[Entry]:
        """Up to ``limit`` (at most 10,000) entries in key order; page with ``after``, the last key seen."""
        if not 1 <= limit <= _MAX_LIST:
            raise InvalidInput(f"limit {limit}: use 1 to {_MAX_LIST}")
        found: list[Entry] = []
        async for entry in self._of.keys.entries(await self._tree(), prefix, after or ""):
            if self._alive(entry) is not None:
                found.append(entry)
            if len(found) == limit:
                break
        return found

    async def changes(self) -> Sequence[KeyChange]:
        """What differs from the base, in key order; O(those). A value that was written again as it was is left out."""
        branch = (await self._of.branches.settled(self._branch)).branch
        before, after = branch.base_shared.keys, branch.shared.keys
        found = []
        for key in await self._of.keys.changed(before, after):
            base, ours = await self._of.keys.get(before, key), await self._of.keys.get(after, key)
            if not same(base, ours):
                found.append(KeyChange(key=key, base=base, ours=ours))
        return found

    def watch(self, prefix: str = "") -> Watch:
        """First the present entries, then every newer state, as `KeyValues.watch` has it; also what a commit brings."""
        of = self._of
        return Watch(self._states, _never, of.wakeups, of.changes, prefix, of.clock, of.poll_s)

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _states(self, prefix: str) -> AsyncIterator[tuple[Entry, bool]]:
        """What is there; what has expired or was deleted is missing, which a watch tells as a deletion."""
        async for entry in self._of.keys.entries(await self._tree(), prefix):
            if self._alive(entry) is not None:
                yield entry, False

    async def _tree(self) -> str:
        return (await self._of.branches.settled(self._branch)).branch.shared.keys

    async def _write(self, key: str, content: Callable[[int], bytes] | None, expected: int | None) -> int | None:
        """The revision written; ``None``: there was nothing to delete."""
        path = path_of(key)
        async with self._of.lock(self._branch):
            for attempt in range(_RETRIES):
                stored = await self._open()
                shared = stored.branch.shared
                found = self._alive(await self._of.keys.get(shared.keys, key))
                actual = found.revision if found is not None else 0
                if expected is not None and expected != actual:
                    raise RevisionConflict(
                        f"key {key!r} is at revision {actual}, not {expected}",
                        key=key,
                        expected=expected,
                        actual=actual,
                    )
                if content is None and found is None:
                    return None
                revision = shared.revision + 1
                tree = await self._of.trees.put_files(shared.keys, {path: content(revision) if content else None})
                moved = shared.model_copy(update={"keys": tree, "revision": revision})
                try:
                    await self._of.branches.replace(stored, stored.branch.model_copy(update={"shared": moved}))
                except RevisionConflict:
                    await asyncio.sleep(random.random() * 0.001 * min(attempt, 20))
                    continue
                self._of.wakeups.notify()
                return revision
        raise RevisionConflict(f"branch {self._branch!r} moves too fast: {_RETRIES} writes of {key!r} were overtaken")

    async def _open(self) -> Stored:
        stored = await self._of.branches.writable(self._branch)
        if stored.branch.state != "open":
            raise ended(stored.branch)
        return stored

    def _alive(self, entry: Entry | None) -> Entry | None:
        if entry is None or (entry.expires_at is not None and entry.expires_at <= self._of.clock()):
            return None
        return entry


async def _never(entry: Entry) -> None:
    raise AssertionError("what has expired is not told, so nobody is to be told to end it")
