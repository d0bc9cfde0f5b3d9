"""Three-way merge of key-values, key by key. Values are never merged: two different ones are a conflict."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from context_store.documents import decode
from context_store.key_trees import bare, document, packed, repacked, same, unpacked
from context_store.trees import Resolution, Trees
from schemas.branch import Shared
from schemas.errors import InvalidInput
from schemas.keyvalue import Entry
from schemas.model import timestamp
from schemas.tree import Change, Conflict, TreeEntry, key_path

_Edit = bytes | None
_KIND: Final = "key_value"


class KeyMerge:
    """One merge. It looks at every key before anything is stored, and stores nothing while one is undecided."""

    def __init__(self, trees: Trees, resolve: Callable[[Conflict], Awaitable[Resolution]]) -> None:
        self._trees = trees
        self._resolve = resolve
        self._undecided = False

    async def run(self, base: Shared, ours: Shared, theirs: Shared) -> tuple[str, int]:
        """The merged tree and its revision; no tree when something is undecided. O(keys that changed on either side).

        What theirs takes over from ours gets a revision that theirs never had: somebody who read a key there and writes
        it back "if it is still at revision 6" must not find another value under that number.
        """
        if ours.keys == base.keys:
            return theirs.keys, theirs.revision
        if theirs.revision == base.revision:
            return ours.keys, ours.revision
        revision = max(ours.revision, theirs.revision) + 1
        changed = await self._changes(base.keys, ours.keys)
        there = await self._changes(base.keys, theirs.keys)
        edits: dict[str, _Edit] = {}
        for path, change in changed.items():
            before, mine = await self._entry(change.before), await self._entry(change.after)
            yours = await self._entry(there[path].after) if path in there else before
            if same(mine, before) or same(mine, yours):
                continue
            if same(yours, before):
                edits[path] = repacked(mine, revision) if mine is not None else None
            else:
                await self._settle(path, before, mine, yours, revision, edits)
        if self._undecided:
            return "", 0
        return await self._trees.put_files(theirs.keys, edits), revision

    async def _changes(self, before: str, after: str) -> dict[str, Change]:
        return {change.path: change for change in await self._trees.diff(before, after)}

    async def _entry(self, place: TreeEntry | None) -> Entry | None:
        return unpacked(await self._trees.blobs.get(place.hash)) if place is not None else None

    async def _settle(
        self,
        path: str,
        base: Entry | None,
        ours: Entry | None,
        theirs: Entry | None,
        revision: int,
        edits: dict[str, _Edit],
    ) -> None:
        key = next(side.key for side in (ours, theirs, base) if side is not None)
        conflict = Conflict(
            path=key_path(key),
            kind=_KIND,
            base=await self._shown(base),
            ours=await self._shown(ours),
            theirs=await self._shown(theirs),
        )
        answer = await self._resolve(conflict)
        if isinstance(answer, Mapping):
            if set(answer) != {conflict.path}:
                raise InvalidInput(f"{conflict.path!r} is a key: it is settled where it is, and not elsewhere")
            answer = answer[conflict.path]
        if isinstance(answer, Conflict):
            self._undecided = True
        elif answer == "theirs" or (answer is not None and answer == conflict.theirs):
            return
        elif answer == "ours" or (answer is not None and answer == conflict.ours):
            edits[path] = repacked(ours, revision) if ours is not None else None
        elif answer is None:
            edits[path] = None
        else:
            edits[path] = packed(key, document(key, await self._value(key, answer), timestamp(), None), revision)

    async def _shown(self, entry: Entry | None) -> TreeEntry | None:
        """A side of a conflict: the value as a blob of JSON, for whoever decides."""
        if entry is None:
            return None
        data = bare(entry)
        [digest] = await self._trees.blobs.put_many([data])
        return TreeEntry(kind="file", hash=digest, size=len(data))

    async def _value(self, key: str, answer: object) -> Any:
        if isinstance(answer, TreeEntry):
            answer = await self._trees.blobs.get(answer.hash)
        try:
            if isinstance(answer, bytes):
                return decode(answer.decode())
            cause = None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            cause = error
        raise InvalidInput(f"key {key!r} was resolved with {str(answer)[:80]!r}: give its value as JSON") from cause
