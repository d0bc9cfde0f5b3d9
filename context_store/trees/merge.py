"""Three-way merge of trees: path by path (`threeway`), then, where that fails, with renames followed (`moved`).

Nothing is stored before the merge is known to succeed. ``docs/branching.md`` has the rules as tables.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from context_store.trees.diff import TreeDiff
from context_store.trees.moved import Changes, Moved, Mover, find_renames
from context_store.trees.objects import FileEdit, TreeObjects
from context_store.trees.staged import StagedTrees
from context_store.trees.threeway import ThreeWay
from schemas.branch import OnConflict
from schemas.errors import InvalidInput, MergeConflict
from schemas.tree import Conflict, TreeEntry, shown_name, wire_name

Content = TreeEntry | bytes | None
Resolution = Content | Literal["ours", "theirs"] | Mapping[str, Content] | Conflict
Resolver = Callable[[Conflict], Resolution | Awaitable[Resolution]]
"""Given a conflict, what shall be at its path: a stored entry, the bytes of a file, ``None`` for nothing, or the name
of a side; a mapping, path → content, for a file that shall be elsewhere or in several places; the conflict itself
when it stays one."""

_SHOWN: Final = 100


class TreeMerge:
    """One merge. With ``on_conflict="fail"`` it looks at every path before it raises, so all conflicts are named.

    ``"ours"`` and ``"theirs"`` settle whole conflicting paths, not lines.
    """

    def __init__(self, trees: TreeObjects, on_conflict: OnConflict | Resolver) -> None:
        if not callable(on_conflict) and on_conflict not in ("fail", "ours", "theirs"):
            raise InvalidInput(f"on_conflict {on_conflict!r}: use 'fail', 'ours', 'theirs' or a callable")
        self._trees = StagedTrees(trees)
        self._on_conflict = on_conflict

    async def run(self, base: str, ours: str, theirs: str) -> str:
        """The merged tree, stored. O(what differs), and a rename costs reading the files it might be."""
        plain = ThreeWay(self._trees)
        tree = await plain.run(base, ours, theirs)
        conflicts = plain.conflicts
        if conflicts or plain.deleted:
            moved = await self._moved(base, ours, theirs)
            if moved is not None:
                tree, conflicts = await self._again(moved, base, ours, theirs)
        if conflicts:
            decided, left = await self._decide(conflicts)
            if left:
                raise merge_conflict(left, base, ours, theirs)
            tree = await self._settle(tree, decided)
        return await self._trees.flush(tree)

    async def _moved(self, base: str, ours: str, theirs: str) -> Moved | None:
        """What there is to move; ``None`` if nobody renamed anything that matters."""
        changes: Changes = {
            "ours": await TreeDiff(self._trees).run(base, ours),
            "theirs": await TreeDiff(self._trees).run(base, theirs),
        }
        found = await find_renames(self._trees, changes)
        if not found["ours"] and not found["theirs"]:
            return None
        return await Mover(self._trees, {"ours": ours, "theirs": theirs}, changes, found).run()

    async def _again(self, moved: Moved, base: str, ours: str, theirs: str) -> tuple[str, list[Conflict]]:
        sides = {"base": base, "ours": ours, "theirs": theirs}
        at = {
            name: await self._trees.put_files(tree, _without_deletions_below_files(moved.edits[name]))
            for name, tree in sides.items()
        }
        merge = ThreeWay(self._trees)
        tree = await merge.run(at["base"], at["ours"], at["theirs"])
        conflicts = [await self._as_stored(moved.named(c), sides) for c in merge.conflicts]
        return tree, sorted([*conflicts, *moved.conflicts], key=lambda conflict: conflict.path)

    async def _as_stored(self, conflict: Conflict, sides: dict[str, str]) -> Conflict:
        """Directories as they are on their side: in the merge, files may have been moved in or out of them."""
        update = {}
        for name, tree in sides.items():
            entry: TreeEntry | None = getattr(conflict, name)
            if entry is not None and entry.kind == "dir":
                update[name] = await self._trees.entry(tree, conflict.path)
        return conflict.model_copy(update=update) if update else conflict

    async def _decide(self, conflicts: list[Conflict]) -> tuple[dict[str, FileEdit], list[Conflict]]:
        """What shall be where, and the conflicts nobody decided."""
        decided: dict[str, FileEdit] = {}
        left: list[Conflict] = []
        for conflict in conflicts:
            resolution = await self._resolution(conflict)
            if isinstance(resolution, Conflict):
                left.append(resolution)
            elif isinstance(resolution, str):
                decided.update(_side(conflict, resolution))
            elif isinstance(resolution, Mapping):
                decided.update({path: _edit(conflict, content) for path, content in resolution.items()})
            else:
                decided[conflict.path] = _edit(conflict, resolution)
        return decided, left

    async def _resolution(self, conflict: Conflict) -> Resolution:
        if not callable(self._on_conflict):
            return conflict if self._on_conflict == "fail" else self._on_conflict
        answer = self._on_conflict(conflict)
        return await answer if inspect.isawaitable(answer) else answer

    async def _settle(self, tree: str, decided: dict[str, FileEdit]) -> str:
        """Puts what was decided; inner paths after outer ones, unless these became no directory."""
        while decided:
            outer = {p: edit for p, edit in decided.items() if not any(above in decided for above in _above(p))}
            tree = await self._trees.put_files(tree, outer)
            files = {p for p, edit in outer.items() if edit is not None and not _is_directory(edit)}
            decided = {p: e for p, e in decided.items() if p not in outer and not files.intersection(_above(p))}
        return tree


def _side(conflict: Conflict, side: str) -> dict[str, FileEdit]:
    """One side's version, under the name that side gave it."""
    if side == "ours":
        return {conflict.path: conflict.ours}
    if side != "theirs":
        raise InvalidInput(f"{conflict.path!r} was resolved with {side!r}: give bytes, an entry, 'ours' or 'theirs'")
    elsewhere = conflict.kind == "rename_rename" and conflict.theirs_path
    return {elsewhere or conflict.path: conflict.theirs}


def _edit(conflict: Conflict, content: Content) -> FileEdit:
    if not isinstance(content, bytes):
        return content
    sides = (conflict.ours, conflict.theirs, conflict.base)
    return content, next((side.mode for side in sides if side is not None and side.kind == "file"), 0o644)


def _without_deletions_below_files(edits: dict[str, FileEdit]) -> dict[str, FileEdit]:
    """A file put at a directory's path takes the whole directory away."""
    return {p: e for p, e in edits.items() if e is not None or all(edits.get(above) is None for above in _above(p))}


def _above(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:n]) for n in range(1, len(names))]


def _is_directory(edit: FileEdit) -> bool:
    return isinstance(edit, TreeEntry) and edit.kind == "dir"


def merge_conflict(conflicts: list[Conflict], base: str, ours: str, theirs: str) -> MergeConflict:
    """Names the first hundred; ``details["total"]`` counts all."""
    paths = [wire_name(conflict.path) for conflict in conflicts]
    named = ", ".join(f"{shown_name(c.path)} ({c.kind})" for c in conflicts[:5])
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return MergeConflict(
        f"both sides changed {named}{more}; nothing was written. Fork again from the target, or choose on_conflict",
        paths=paths[:_SHOWN],
        total=len(paths),
        conflicts=[conflict.model_dump(mode="json", exclude_none=True) for conflict in conflicts[:_SHOWN]],
        base=base,
        ours=ours,
        theirs=theirs,
    )
