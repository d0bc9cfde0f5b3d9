"""A merge in two steps: see what a commit would do, decide its conflicts, then commit exactly that."""

from __future__ import annotations

from context_store.trees import Resolution, Trees
from schemas.branch import Branch, MergePlan, OnConflict, Resolutions
from schemas.errors import MergeConflict
from schemas.tree import Conflict


class Resolved:
    """A resolver that knows the answers, given by somebody who saw the conflicts.

    What it has none for is settled by ``otherwise``; ``left`` has the conflicts that stayed ones.
    """

    def __init__(self, answers: Resolutions, otherwise: OnConflict = "fail") -> None:
        self._answers = answers
        self._otherwise = otherwise
        self.left: list[Conflict] = []

    def __call__(self, conflict: Conflict) -> Resolution:
        if (answer := self._answers.get(conflict.path)) is not None:
            return answer
        if self._otherwise != "fail":
            return self._otherwise
        self.left.append(conflict)
        return conflict


async def plan_merge(
    trees: Trees, branch: Branch, theirs: str, answers: Resolutions, otherwise: OnConflict
) -> MergePlan:
    """What the commit of ``branch`` into a parent with the head ``theirs`` gives. The merged tree is stored."""
    resolved = Resolved(answers, otherwise)
    tree = branch.head
    if theirs != branch.base:
        try:
            tree = await trees.merge(branch.base, branch.head, theirs, on_conflict=resolved)
        except MergeConflict:
            tree = ""
    return MergePlan(
        branch=branch.id,
        target=branch.parent,
        base=branch.base,
        ours=branch.head,
        theirs=theirs,
        tree=tree,
        fast_forward=theirs == branch.base,
        conflicts=resolved.left,
    )
