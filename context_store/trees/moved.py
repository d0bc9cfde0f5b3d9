"""Renames taken out of a merge: the files are moved in the base and on the side that did not rename.

What is left can be merged path by path. A file ours renamed from ``a`` to ``b`` and theirs edited becomes a file
``b`` that only theirs edited. Clashes that path by path would not be seen (one renamed what the other deleted, both
renamed to different names) become conflicts of their own, and the paths are taken out of all three.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Literal

from context_store.trees.objects import FileEdit
from context_store.trees.renames import Renames, appeared, removed
from context_store.trees.staged import StagedTrees
from schemas.tree import Change, Conflict, TreeEntry

Side = Literal["ours", "theirs"]
OTHER: Final[dict[Side, Side]] = {"ours": "theirs", "theirs": "ours"}

Changes = dict[Side, list[Change]]
Found = dict[Side, dict[str, str]]


@dataclass
class Moved:
    """``edits``: what to put where, per tree; ``origin``: new path → (old path, who renamed it, ``None`` for both)."""

    edits: dict[str, dict[str, FileEdit]] = field(default_factory=lambda: {"base": {}, "ours": {}, "theirs": {}})
    origin: dict[str, tuple[str, Side | None]] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    targets: dict[Side, set[str]] = field(default_factory=dict)

    def named(self, conflict: Conflict) -> Conflict:
        """``conflict`` with the name its file had elsewhere. Two files at one path are a clash of names then."""
        if conflict.path not in self.origin:
            return conflict
        old, renamer = self.origin[conflict.path]
        if conflict.kind == "add_add":
            both = all(conflict.path in targets for targets in self.targets.values())
            return conflict.model_copy(update={"kind": "rename_rename" if both else "rename_add", "base_path": old})
        elsewhere = {f"{OTHER[renamer]}_path": old} if renamer else {}
        return conflict.model_copy(update={"base_path": old, **elsewhere})


async def find_renames(trees: StagedTrees, changes: Changes) -> Found:
    """Per side, old path → new path, of the files that matter: changed by the other side, or put where it put one."""
    found: Found = {"ours": {}, "theirs": {}}
    new = {side: appeared(some) for side, some in changes.items()}
    for side, some in changes.items():
        touched = {c.path for c in changes[OTHER[side]] if c.before is not None}
        clashing = new[side].keys() & new[OTHER[side]].keys()
        gone = removed(some)
        if not clashing and not touched & gone.keys():
            continue
        renamed = await Renames(trees, gone, new[side]).find(touched & gone.keys(), clashing)
        found[side] = {a: b for a, b in renamed.items() if a in touched or b in clashing}
    return found


class Mover:
    """Decides what is moved."""

    def __init__(self, trees: StagedTrees, roots: dict[Side, str], changes: Changes, found: Found) -> None:
        self._trees = trees
        self._roots = roots
        self._by_path = {side: {c.path: c for c in some} for side, some in changes.items()}
        self._found = found
        self.moved = Moved(targets={side: set(some.values()) for side, some in found.items()})

    async def run(self) -> Moved:
        for old in sorted(self._found["ours"].keys() | self._found["theirs"].keys()):
            ours, theirs = self._found["ours"].get(old), self._found["theirs"].get(old)
            if ours and theirs:
                self._both(old, ours, theirs)
            elif ours:
                await self._one("ours", old, ours)
            elif theirs:
                await self._one("theirs", old, theirs)
        return self.moved

    def _both(self, old: str, ours: str, theirs: str) -> None:
        edits = self.moved.edits
        edits["base"][old] = None
        if ours == theirs:
            edits["base"][ours] = self._before("ours", old)
            self.moved.origin[ours] = (old, None)
            return
        edits["ours"][ours] = edits["theirs"][theirs] = None
        self.moved.conflicts.append(
            Conflict(
                path=ours,
                kind="rename_rename",
                base=self._before("ours", old),
                ours=self._after("ours", ours),
                theirs=self._after("theirs", theirs),
                base_path=old,
                theirs_path=theirs,
            )
        )

    async def _one(self, side: Side, old: str, new: str) -> None:
        """``side`` renamed it; the other changed or deleted it, or left it and put another file at the new path."""
        other, edits = OTHER[side], self.moved.edits
        base, renamed = self._before(side, old), self._after(side, new)
        change = self._by_path[other].get(old)
        if change is None:
            self.moved.origin.setdefault(new, (old, side))
            return
        deleted = change.after is None or base is None or change.after.kind != base.kind
        if await self._taken(side, new):
            self.moved.origin.setdefault(new, (old, side))
            there = self._after(other, new) if new in self._by_path[other] else None
            if deleted and there is not None and there.kind != "dir":
                edits["ours"][new] = edits["theirs"][new] = None
                clash = Conflict(path=new, kind="rename_add", base_path=old)
                self.moved.conflicts.append(clash.model_copy(update={side: renamed, other: there}))
            return
        edits["base"][old] = None
        if deleted:
            edits[side][new] = None
            gone = Conflict(path=new, kind="rename_delete", base=base, base_path=old)
            self.moved.conflicts.append(gone.model_copy(update={side: renamed}))
            return
        edits["base"][new] = base
        edits[other].update({old: None, new: change.after})
        self.moved.origin[new] = (old, side)

    async def _taken(self, side: Side, path: str) -> bool:
        """Whether the side that did not rename has something of its own at the new path, or a file on the way to it."""
        other = OTHER[side]
        for above in accumulate(path.split("/"), "{}/{}".format):
            found = await self._trees.entry(self._roots[other], above)
            if found is None:
                return False
            if above != path and found.kind == "dir":
                continue
            if above == path and found.kind == "dir":
                return self._keeps(other, path, self._found[side])
            # A file on the way that is moved too, or is as in the base, is no obstacle: the renaming side replaced it.
            return above == path or (above in self._by_path[other] and above not in self._found[side])
        return True

    def _keeps(self, side: Side, directory: str, renamed: dict[str, str]) -> bool:
        """Whether ``side`` has anything in a directory that the other replaced by a file, but what that renamed."""
        return any(
            path.startswith(f"{directory}/") and change.after is not None and path not in renamed
            for path, change in self._by_path[side].items()
        )

    def _before(self, side: Side, path: str) -> TreeEntry | None:
        return self._by_path[side][path].before

    def _after(self, side: Side, path: str) -> TreeEntry | None:
        return self._by_path[side][path].after
