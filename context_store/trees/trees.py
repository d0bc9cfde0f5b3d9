"""`Trees`: tree objects, and what is done with two or three of them."""

from __future__ import annotations

from context_store.trees.diff import TreeDiff
from context_store.trees.merge import Resolver, TreeMerge
from context_store.trees.objects import TreeObjects
from context_store.trees.renames import with_renames
from context_store.trees.text import unified_diff
from schemas.branch import OnConflict
from schemas.tree import Change, shown_name


class Trees(TreeObjects):
    """Trees of one tenant."""

    async def diff(self, before: str, after: str, *, renames: bool = False) -> list[Change]:
        """The paths that differ, sorted. Reads only sub-trees that differ.

        With ``renames`` a deleted and an added file that are alike are one change, under the new path; that reads
        files of up to 1 MiB, and only when something was deleted and something added.
        """
        changes = await TreeDiff(self).run(before, after)
        return await with_renames(self, changes) if renames else changes

    async def merge(self, base: str, ours: str, theirs: str, *, on_conflict: OnConflict | Resolver = "fail") -> str:
        """Both sides' changes since ``base``, as one tree. Raises `MergeConflict`; see `trees.merge` for the rules."""
        return await TreeMerge(self, on_conflict).run(base, ours, theirs)

    async def change_text(self, change: Change, *, max_bytes: int = 256 * 1024) -> str:
        """A unified diff of one change; one line instead when it is binary or larger than ``max_bytes``."""
        path = shown_name(change.path)
        sides: list[bytes | None] = []
        for side in (change.before, change.after):
            if side is None or side.kind == "dir":
                sides.append(None)
            elif side.size > max_bytes:
                return f"{path}: {side.size} bytes, too large to show\n"
            else:
                sides.append(await self.blobs.get(side.hash))
        text = unified_diff(path, sides[0], sides[1], before_path=shown_name(change.from_path or change.path))
        return _header(change) + text


def _header(change: Change) -> str:
    """What a unified diff cannot say: a new name, a new mode."""
    said = []
    a, b = change.before, change.after
    if a is not None and b is not None and a.kind == b.kind == "file" and a.mode != b.mode:
        said += [f"old mode 100{a.mode:o}", f"new mode 100{b.mode:o}"]
    if change.from_path:
        said += [f"rename from {shown_name(change.from_path)}", f"rename to {shown_name(change.path)}"]
    return "".join(f"{line}\n" for line in said)
