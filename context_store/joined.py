"""What a branch and its parent are together: files, key-values and turns, all of it or a `MergeConflict`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from dataclasses import dataclass

from context_store.conversations.joining import Joining
from context_store.conversations.turn_log import TurnLog
from context_store.key_merge import KeyMerge
from context_store.trees import Resolution, Resolver, Trees, merge_conflict
from schemas.branch import Branch, OnConflict, Shared
from schemas.errors import InvalidInput, MergeConflict
from schemas.tree import Conflict


@dataclass(frozen=True)
class Merged:
    """The files and key-values of a commit, stored but not published."""

    tree: str
    keys: str
    revision: int


class _Asked:
    """The resolver, with what it left undecided of files and of keys."""

    def __init__(self, on_conflict: OnConflict | Resolver) -> None:
        if not callable(on_conflict) and on_conflict not in ("fail", "ours", "theirs"):
            raise InvalidInput(f"on_conflict {on_conflict!r}: use 'fail', 'ours', 'theirs' or a callable")
        self._on_conflict = on_conflict
        self.left: list[Conflict] = []

    async def __call__(self, conflict: Conflict) -> Resolution:
        answer: Resolution | Awaitable[Resolution] = conflict
        if callable(self._on_conflict):
            answer = self._on_conflict(conflict)
        elif self._on_conflict != "fail":
            answer = self._on_conflict
        settled = await answer if inspect.isawaitable(answer) else answer
        if isinstance(settled, Conflict):
            self.left.append(settled)
        return settled


class Merging:
    """Merges branches of one tenant. Writes only what nobody sees yet."""

    def __init__(self, trees: Trees, log: TurnLog) -> None:
        self._trees = trees
        self._joining = Joining(log)

    async def contents(self, own: Branch, parent: Branch, on_conflict: OnConflict | Resolver) -> Merged:
        """Raises `MergeConflict` that names files and keys."""
        asked = _Asked(on_conflict)
        tree = own.head
        if parent.head != own.base:
            try:
                tree = await self._trees.merge(own.base, own.head, parent.head, on_conflict=asked)
            except MergeConflict:
                tree = ""  # the keys that conflict are to be named as well
        keys, revision = await KeyMerge(self._trees, asked).run(own.base_shared, own.shared, parent.shared)
        if asked.left:
            raise merge_conflict(asked.left, own.base, own.head, parent.head)
        return Merged(tree, keys, revision)

    async def shared(self, own: Branch, parent: Branch, merged: Merged) -> Shared:
        """What the parent's ``shared`` becomes. Turns that must stand elsewhere are stored there."""
        joined = await self._joining.run(own, parent)
        return joined.model_copy(update={"keys": merged.keys, "revision": merged.revision})
