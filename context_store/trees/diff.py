"""What differs between two trees, level by level: equal hashes are never opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from context_store.trees.entries import Entries, differing, same
from context_store.trees.objects import TreeObjects
from schemas.tree import EMPTY_TREE, Change, TreeEntry

_Pair = tuple[str, str | None, str | None]


class TreeDiff:
    """One comparison. Costs one trip to the blobs per level of the trees, O(differing directories) reads."""

    def __init__(self, trees: TreeObjects) -> None:
        self._trees = trees
        self._changes: list[Change] = []

    async def run(self, before: str, after: str) -> list[Change]:
        level: list[_Pair] = [("", before, after)] if before != after else []
        while level:
            known = await self._trees.read_many({tree for _, a, b in level for tree in (a, b) if tree})
            level = [
                below
                for prefix, a, b in level
                for below in self._compare(prefix, known[a] if a else {}, known[b] if b else {})
            ]
        return sorted(self._changes, key=lambda change: change.path)

    def _compare(self, prefix: str, before: Entries, after: Entries) -> Iterable[_Pair]:
        """Note the changes of one directory; gives the sub-directories to look into."""
        for name in differing(before, after):
            a, b = before.get(name), after.get(name)
            if same(a, b):
                continue
            below = (_directory(a), _directory(b))
            if any(below):
                yield f"{prefix}{name}/", *below
            if a is not None and b is not None and a.kind == b.kind == "dir":
                continue
            self._note(prefix + name, a, b)

    def _note(self, path: str, a: TreeEntry | None, b: TreeEntry | None) -> None:
        """Directories are not listed as such, except empty ones and those that turned into, or came from, a file."""
        if a is None and b is not None:
            if b.kind != "dir" or b.hash == EMPTY_TREE:
                self._changes.append(Change(path=path, kind="added", after=b))
        elif b is None and a is not None:
            if a.kind != "dir" or a.hash == EMPTY_TREE:
                self._changes.append(Change(path=path, kind="deleted", before=a))
        elif a is not None and b is not None:
            self._changes.append(Change(path=path, kind=_how(a, b), before=a, after=b))


def _how(a: TreeEntry, b: TreeEntry) -> Literal["modified", "type_changed", "mode_changed"]:
    if a.kind != b.kind:
        return "type_changed"
    return "mode_changed" if a.hash == b.hash else "modified"


def _directory(found: TreeEntry | None) -> str | None:
    return found.hash if found is not None and found.kind == "dir" else None
