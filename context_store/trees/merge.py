"""Three-way merge of trees, path by path.

A path one side left as it was in the base is taken from the other; the same change on both sides is taken once;
a text file both changed is merged by lines; anything else is a conflict. A directory one side deleted counts as
each of its files deleted, so a change below it on the other side is a conflict at exactly that path.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from context_store.trees.diff3 import MAX_BYTES, merge_text
from context_store.trees.entries import Entries, directory_entry, same
from schemas.branch import OnConflict
from schemas.errors import InvalidInput, MergeConflict
from schemas.tree import Conflict, TreeEntry

if TYPE_CHECKING:
    from context_store.trees.trees import Trees

Resolution = TreeEntry | bytes | None
Resolver = Callable[[Conflict], Resolution | Awaitable[Resolution]]
"""Given a conflict, what shall be at that path: a stored entry, the bytes of a file, or ``None`` for nothing."""

V = TypeVar("V")

_SHOWN: Final = 100

_Sides = tuple[TreeEntry | None, TreeEntry | None, TreeEntry | None]


class TreeMerge:
    """One merge. With ``on_conflict="fail"`` it looks at every path before it raises, so all conflicts are named.

    ``"ours"`` and ``"theirs"`` settle whole conflicting paths, not lines. New trees and merged files are stored
    as blobs even when the merge then fails; nothing refers to them.
    """

    def __init__(self, trees: Trees, on_conflict: OnConflict | Resolver) -> None:
        if not callable(on_conflict) and on_conflict not in ("fail", "ours", "theirs"):
            raise InvalidInput(f"on_conflict {on_conflict!r}: use 'fail', 'ours', 'theirs' or a callable")
        self._trees = trees
        self._on_conflict = on_conflict
        self._conflicts: list[Conflict] = []

    async def run(self, base: str, ours: str, theirs: str) -> str:
        if ours in (base, theirs):
            return theirs
        if theirs == base:
            return ours
        sides = await self._trees.read_many([base, ours, theirs])
        entries = await self._directory("", sides[base], sides[ours], sides[theirs])
        if self._conflicts:
            raise _error(self._conflicts)
        return await self._trees.write(entries)

    async def _directory(self, prefix: str, base: Entries, ours: Entries, theirs: Entries) -> Entries:
        merged: Entries = {}
        for name in sorted(base.keys() | ours.keys() | theirs.keys()):
            found = await self._entry(prefix + name, (base.get(name), ours.get(name), theirs.get(name)))
            if found is not None:
                merged[name] = found
        return merged

    async def _entry(self, path: str, sides: _Sides) -> TreeEntry | None:
        base, ours, theirs = sides
        if same(base, ours):
            return theirs
        if same(base, theirs) or same(ours, theirs):
            return ours
        if base is not None and (ours is None or theirs is None):
            new = ours or theirs
            if new is not None and (new.kind == "dir") != (base.kind == "dir"):
                return new  # both have deleted what was there, and one has put something of another kind in its place
        if _can_descend(base, ours, theirs):
            return await self._sub_tree(path, sides)
        if ours is not None and theirs is not None and ours.kind == theirs.kind == "file":
            merged = await self._file(base, ours, theirs)
            if merged is not None:
                return merged
        return await self._conflict(Conflict(path=path, base=base, ours=ours, theirs=theirs))

    async def _sub_tree(self, path: str, sides: _Sides) -> TreeEntry | None:
        hashes = [side.hash for side in sides if side is not None and side.kind == "dir"]
        known = await self._trees.read_many(hashes)
        base, ours, theirs = (known[s.hash] if s is not None and s.kind == "dir" else {} for s in sides)
        entries = await self._directory(path + "/", base, ours, theirs)
        deleted = sides[1] is None or sides[2] is None
        if not entries and deleted:
            return None
        return directory_entry(await self._trees.write(entries), entries)

    async def _file(self, base: TreeEntry | None, ours: TreeEntry, theirs: TreeEntry) -> TreeEntry | None:
        """Content and mode merged separately; ``None`` if either conflicts."""
        before = base if base is not None and base.kind == "file" else None
        mode = _three_way(before.mode if before else None, ours.mode, theirs.mode)
        if mode is None:
            return None
        digest = _three_way(before.hash if before else None, ours.hash, theirs.hash)
        if digest is not None:
            size = ours.size if digest == ours.hash else theirs.size
            return TreeEntry(kind="file", hash=digest, size=size, mode=mode)
        if before is None or max(before.size, ours.size, theirs.size) > MAX_BYTES:
            return None
        texts = await self._trees.blobs.get_many([before.hash, ours.hash, theirs.hash])
        merged = await asyncio.to_thread(merge_text, *texts)
        if merged is None:
            return None
        stored = await self._trees.blobs.put(merged)
        return TreeEntry(kind="file", hash=stored, size=len(merged), mode=mode)

    async def _conflict(self, conflict: Conflict) -> TreeEntry | None:
        if self._on_conflict == "ours":
            return conflict.ours
        if self._on_conflict == "theirs":
            return conflict.theirs
        if not callable(self._on_conflict):
            self._conflicts.append(conflict)
            return None
        found = self._on_conflict(conflict)
        resolution = await found if inspect.isawaitable(found) else found
        if isinstance(resolution, bytes):
            digest = await self._trees.blobs.put(resolution)
            mode = conflict.ours.mode if conflict.ours is not None and conflict.ours.kind == "file" else 0o644
            return TreeEntry(kind="file", hash=digest, size=len(resolution), mode=mode)
        return resolution


def _can_descend(base: TreeEntry | None, ours: TreeEntry | None, theirs: TreeEntry | None) -> bool:
    """Whether the path can be merged as a directory: both sides have one, or one of them deleted it."""
    kinds = [side.kind if side is not None else None for side in (base, ours, theirs)]
    both = kinds[1] == kinds[2] == "dir"
    deleted = kinds[0] == "dir" and "dir" in kinds[1:] and None in kinds[1:]
    return both or deleted


def _three_way(base: V | None, ours: V, theirs: V) -> V | None:
    """The side that changed; ``None`` if both did, differently."""
    if ours in (base, theirs):
        return theirs
    return ours if theirs == base else None


def _error(conflicts: list[Conflict]) -> MergeConflict:
    paths = [conflict.path for conflict in conflicts]
    named = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return MergeConflict(
        f"both sides changed {named}; nothing was written. Fork again from the target, or choose on_conflict",
        paths=paths[:_SHOWN],
        total=len(paths),
        conflicts=[conflict.model_dump(mode="json", exclude_none=True) for conflict in conflicts[:_SHOWN]],
    )
