"""One pass over three trees, path by path; equal sub-trees are never opened.

A path one side left as it was in the base is taken from the other; the same change on both sides is taken once;
a text file both changed is merged by lines; anything else is a conflict, and nothing is at that path then.
A directory one side deleted counts as each of its files deleted, so a change below it on the other side is a
conflict at exactly that path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, TypeVar

from context_store.trees.diff3 import MAX_BYTES, merge_text
from context_store.trees.entries import Entries, differing, directory_entry, same
from context_store.trees.staged import StagedTrees
from context_store.trees.text import is_text
from schemas.tree import Conflict, ConflictKind, TreeEntry

V = TypeVar("V")

Sides = tuple[TreeEntry | None, TreeEntry | None, TreeEntry | None]
"""What base, ours and theirs have at a path."""

_BATCH: Final = 16


class ThreeWay:
    """The pass. ``conflicts``: what it could not settle; ``deleted``: whether both sides deleted something."""

    def __init__(self, trees: StagedTrees) -> None:
        self._trees = trees
        self.conflicts: list[Conflict] = []
        self.deleted = False

    async def run(self, base: str, ours: str, theirs: str) -> str:
        """The merged tree, staged, without what conflicts."""
        if ours in (base, theirs):
            return theirs
        if theirs == base:
            return ours
        found = await self._trees.read_many([base, ours, theirs])
        merged = await self._directory("", (found[base], found[ours], found[theirs]))
        self.conflicts.sort(key=lambda conflict: conflict.path)
        return await self._trees.write(merged)

    async def _directory(self, prefix: str, entries: tuple[Entries, Entries, Entries]) -> Entries:
        base, ours, theirs = entries
        merged = dict(theirs)  # right wherever ours is as in the base
        directories: dict[str, Sides] = {}
        files: dict[str, Sides] = {}
        for name in differing(base, ours):
            merged.pop(name, None)
            sides = (base.get(name), ours.get(name), theirs.get(name))
            self.deleted |= _both_deleted(sides)
            if (found := _trivial(sides)) is not None:
                if found[0] is not None:
                    merged[name] = found[0]
            elif _can_descend(sides):
                directories[name] = sides
            elif sides[1] is not None and sides[2] is not None and sides[1].kind == sides[2].kind == "file":
                files[name] = sides
            else:
                self._conflict(prefix + name, _kind(sides), sides)
        await self._descend(prefix, directories, merged)
        names = sorted(files)
        for start in range(0, len(names), _BATCH):
            await self._files(prefix, {name: files[name] for name in names[start : start + _BATCH]}, merged)
        return merged

    async def _descend(self, prefix: str, directories: dict[str, Sides], merged: Entries) -> None:
        known = await self._trees.read_many(
            {s.hash for sides in directories.values() for s in sides if s is not None and s.kind == "dir"}
        )
        for name, sides in sorted(directories.items()):
            base, ours, theirs = (known[s.hash] if s is not None and s.kind == "dir" else {} for s in sides)
            so_far = len(self.conflicts)
            entries = await self._directory(f"{prefix}{name}/", (base, ours, theirs))
            replacement = next((s for s in sides[1:] if s is not None and s.kind != "dir"), None)
            if replacement is not None:
                if entries or len(self.conflicts) > so_far:
                    del self.conflicts[so_far:]
                    self._conflict(prefix + name, "directory_file", sides)
                else:
                    merged[name] = replacement
            elif entries or None not in sides[1:]:
                merged[name] = directory_entry(await self._trees.write(entries), entries)

    async def _files(self, prefix: str, files: dict[str, Sides], merged: Entries) -> None:
        """Files both sides changed: modes and contents merged apart, the contents of all in one trip."""
        texts: dict[str, tuple[Sides, int]] = {}
        for name, sides in files.items():
            base, ours, theirs = _file_sides(sides)
            mode = _three_way(base.mode if base else None, ours.mode, theirs.mode)
            digest = _three_way(base.hash if base else None, ours.hash, theirs.hash)
            if mode is None:
                self._conflict(prefix + name, "content" if base else "add_add", sides)
            elif digest is not None:
                size = ours.size if digest == ours.hash else theirs.size
                merged[name] = TreeEntry(kind="file", hash=digest, size=size, mode=mode)
            elif max(ours.size, theirs.size, base.size if base else 0) > MAX_BYTES:
                self._conflict(prefix + name, "too_large" if base else "add_add", sides)
            else:
                texts[name] = (sides, mode)
        if not texts:
            return
        hashes = {s.hash for sides, _ in texts.values() for s in sides if s is not None and s.kind == "file"}
        contents = dict(zip(hashes, await self._trees.blobs.get_many(list(hashes)), strict=True))
        triples = [_contents(sides, contents) for sides, _ in texts.values()]
        results = await asyncio.to_thread(lambda: [_merged(triple) for triple in triples])
        for (name, (sides, mode)), result in zip(texts.items(), results, strict=True):
            if isinstance(result, bytes):
                merged[name] = TreeEntry(kind="file", hash=self._trees.put(result), size=len(result), mode=mode)
            else:
                self._conflict(prefix + name, result if _file_sides(sides)[0] else "add_add", sides)

    def _conflict(self, path: str, kind: ConflictKind, sides: Sides) -> None:
        self.conflicts.append(Conflict(path=path, kind=kind, base=sides[0], ours=sides[1], theirs=sides[2]))


def _trivial(sides: Sides) -> tuple[TreeEntry | None] | None:
    """The result in a tuple, if there is nothing to merge."""
    base, ours, theirs = sides
    if same(base, ours):
        return (theirs,)
    if same(base, theirs) or same(ours, theirs):
        return (ours,)
    if base is not None and (ours is None or theirs is None):
        new = ours or theirs
        if new is not None and (new.kind == "dir") != (base.kind == "dir"):
            return (new,)  # both have deleted what was there, and one has put something of another kind in its place
    return None


def _both_deleted(sides: Sides) -> bool:
    """Whether both sides have deleted something here, or, for all that can be seen without looking, below."""
    base, ours, theirs = sides
    if base is None or same(base, ours) or same(base, theirs):
        return False
    if base.kind == "dir":
        return same(ours, theirs) or ours is None or theirs is None or ours.kind != "dir" or theirs.kind != "dir"
    return all(side is None or side.kind != base.kind for side in (ours, theirs))


def _can_descend(sides: Sides) -> bool:
    """Whether the path can be merged as a directory: both sides have one, or one has and the other lost the base's.

    What lost it may have something else in its place; that counts as everything in the directory deleted.
    """
    base, ours, theirs = (side is not None and side.kind == "dir" for side in sides)
    return (ours and theirs) or (base and (ours or theirs))


def _kind(sides: Sides) -> ConflictKind:
    base, ours, theirs = sides
    if ours is None or theirs is None:
        return "modify_delete"
    if "dir" in (ours.kind, theirs.kind):
        return "directory_file"
    if base is None:
        return "add_add"
    return "symlink" if ours.kind == theirs.kind else "type_changed"


def _file_sides(sides: Sides) -> tuple[TreeEntry | None, TreeEntry, TreeEntry]:
    base, ours, theirs = sides
    assert ours is not None
    assert theirs is not None
    return base if base is not None and base.kind == "file" else None, ours, theirs


def _contents(sides: Sides, contents: dict[str, bytes]) -> Sequence[bytes]:
    """Of base, ours and theirs; what is no file in the base counts as empty."""
    return [contents[s.hash] if s is not None and s.kind == "file" else b"" for s in sides]


def _merged(texts: Sequence[bytes]) -> bytes | ConflictKind:
    base, ours, theirs = texts
    if not all(is_text(text) for text in texts):
        return "binary"
    found = merge_text(base, ours, theirs)
    return "content" if found is None else found


def _three_way(base: V | None, ours: V, theirs: V) -> V | None:
    """The side that changed; ``None`` if both did, differently."""
    if ours in (base, theirs):
        return theirs
    return ours if theirs == base else None
