"""A merge in two steps: see what a commit would do, decide its conflicts, then commit exactly that."""

from __future__ import annotations

from context_store.joined import Merged, Merging
from context_store.trees import Resolution
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
    merging: Merging, branch: Branch, parent: Branch, answers: Resolutions, otherwise: OnConflict
) -> MergePlan:
    """What the commit of ``branch`` into ``parent`` gives. The merged trees are stored."""
    resolved = Resolved(answers, otherwise)
    try:
        merged = await merging.contents(branch, parent, resolved)
    except MergeConflict:
        merged = Merged("", "", 0)
    return MergePlan(
        branch=branch.id,
        target=branch.parent,
        base=branch.base,
        ours=branch.head,
        theirs=parent.head,
        tree=merged.tree,
        fast_forward=parent.head == branch.base,
        conflicts=resolved.left,
        our_keys=branch.shared.keys,
        their_keys=parent.shared.keys,
        keys=merged.keys,
        turns=branch.shared.turns - branch.base_shared.turns,
    )
