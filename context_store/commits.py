"""The commit of a branch into its parent: one pointer switch, although two records change.

A database without transactions changes one record at a time, so the order does the work:

1. *seal*    the branch's record gets a token. A sealed branch cannot advance or be discarded, so what is
             merged is what is committed.
2. *switch*  the parent's head moves to the merged tree by compare-and-set, its pointers to key-values and turns
             with it, and the same write leaves a *mark* in the parent: "branch B became this tree". **This write
             is the commit**: before it nothing has happened, after it the branch is committed, whatever its own
             record says.
3. *finish*  the branch's record becomes ``committed`` and loses its seal.

Killed between 2 and 3: whoever reads the sealed branch next finds the mark in the parent and finishes. A mark is never
overwritten before its branch is finished: each committer finishes the one it finds first.
Killed between 1 and 2: the seal stays behind. The next writer of the branch (not a reader) takes it off in three
steps, because its owner might only be slow: put an own token in (the owner checks for its token after it reads the
parent and before it switches), touch the parent's record (so a switch prepared before fails), then remove the seal.

An owner that is told "no" for sure (conflict, failed validation) takes its seal off itself; one that does not know
whether its switch was written (cancelled, database gone) leaves it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final
from weakref import WeakValueDictionary

from context_store.backend import Records
from context_store.branch_records import Mark, Stored, beaten, ended, has_no_parent, heads, load, moved_on, to_doc
from context_store.conversations.turn_log import TurnLog
from context_store.joined import Merging
from context_store.key_trees import KeyTrees
from context_store.plans import plan_merge
from context_store.trees import Resolver, Trees
from schemas.branch import Branch, CommitResult, MergePlan, OnConflict, Resolutions
from schemas.errors import (
    BoxhubError,
    BranchNotFound,
    Conflict,
    RevisionConflict,
    TerminalState,
    Unavailable,
    ValidationFailed,
)
from schemas.ids import new_id
from schemas.model import timestamp

Validator = Callable[[str], Awaitable[None]]
"""Given the merged tree before it is published; raises to refuse it."""

Heads = tuple[str, str] | tuple[str, str, str, str]
"""Head of the branch and of its parent, and, if they matter, the key-values of both."""

_RETRIES: Final = 200
_TAKEOVERS: Final = 20


class _TakenOver(Exception):
    """Another writer took the seal off; begin again with the branch as it is now."""


class Commits:
    """Commits between the branches of one tenant. Processes may race; in this one, commits into a parent queue up."""

    def __init__(self, records: Records, trees: Trees, log: TurnLog) -> None:
        self._records = records
        self._trees = trees
        self._keys = KeyTrees(trees)
        self._merging = Merging(trees, log)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(
        self, id: str, on_conflict: OnConflict | Resolver, validate: Validator | None, expected: Heads | None = None
    ) -> CommitResult:
        """Merge the branch into its parent and end it.

        Fast-forward when the parent has not moved since the fork, else a three-way merge (`Trees.merge`).
        ``validate`` sees the tree that is to become the parent's head, again when the parent moved meanwhile.
        With ``expected`` both heads must be these. Raises `MergeConflict`, `RevisionConflict` for other heads, what
        ``validate`` raised or, if that was no error of ours, `ValidationFailed`: then nothing changed and the branch is
        open; `TerminalState` if the branch or its parent has ended, `Superseded` if another one won its race;
        `InvalidInput` for the root branch. Cancelled, or with the database gone, it happened or it did not:
        `Branches.get` tells.
        """
        parent = (await self.settled(id)).branch.parent
        if not parent:
            raise has_no_parent(id)
        for attempt in range(_TAKEOVERS):
            try:
                if validate is not None:  # may take minutes: commits race then, and validate again if they lose
                    mark = await self._try(id, on_conflict, validate, expected)
                else:
                    async with self._locks.setdefault(parent, asyncio.Lock()):
                        mark = await self._try(id, on_conflict, validate, expected)
            except _TakenOver:
                await asyncio.sleep(random.random() * 0.005 * attempt)
                continue
            changes = await self._trees.diff(mark.before, mark.tree, renames=True)
            return CommitResult(
                branch=id,
                target=parent,
                tree=mark.tree,
                fast_forward=mark.fast_forward,
                changes=changes,
                keys=await self._keys.changed(mark.keys_before, mark.keys),
                turns=mark.turns,
            )
        raise Conflict(f"branch {id!r} is changed by others all the time; {_TAKEOVERS} commits gave up", branch=id)

    async def plan(self, id: str, answers: Resolutions, otherwise: OnConflict) -> MergePlan:
        """What `run` would do now; the merged tree is stored and nothing else changes. Raises `TerminalState`."""
        branch = (await self.settled(id)).branch
        if branch.state != "open":
            raise ended(branch)
        if not branch.parent:
            raise has_no_parent(id)
        parent = (await self.settled(branch.parent)).branch
        return await plan_merge(self._merging, branch, parent, answers, otherwise)

    async def _try(
        self, id: str, on_conflict: OnConflict | Resolver, validate: Validator | None, expected: Heads | None
    ) -> Mark:
        token = new_id("seal")
        branch = await self._seal(id, token)
        try:
            mark = await self._switch(branch, token, on_conflict, validate, expected)
        except Unavailable:
            raise  # the switch may have been written, so the seal must stay; the same goes for a cancellation
        except Exception:
            await self._unseal(id, token)
            raise
        await self._finish(mark)
        return mark

    # --- reading and writing branch records ----------------------------------------------------------------------

    async def read(self, id: str) -> Stored:
        record = await self._records.get(id)
        if record is None:
            raise BranchNotFound(f"no branch {id!r}", branch=id)
        return load(record)

    async def replace(self, stored: Stored, branch: Branch, *, seal: str = "", mark: Mark | None = None) -> Stored:
        """Write the branch if its record is still ``stored``; its mark stays unless one is given."""
        mark = mark or stored.mark
        doc = to_doc(branch, seal=seal, mark=mark)
        revision = await self._records.replace(branch.id, doc, expected=stored.revision)
        return Stored(branch, revision, seal, mark)

    async def settled(self, id: str) -> Stored:
        """The branch, its commit finished if that had been cut off. One read, two when it is sealed."""
        stored = await self.read(id)
        if stored.seal and (mark := await self._mark_of(stored)) is not None:
            return await self._finish(mark)
        return stored

    async def writable(self, id: str) -> Stored:
        """The branch without a seal: committed if its commit had gone through, else open again."""
        while True:
            stored = await self.settled(id)
            if not stored.seal:
                return stored
            try:
                stored = await self.replace(stored, stored.branch, seal=new_id("seal"))
                mark = await self._touch_parent(stored)
                return await self._finish(mark) if mark else await self.replace(stored, stored.branch)
            except RevisionConflict:
                continue

    # --- the steps -----------------------------------------------------------------------------------------------

    async def _seal(self, id: str, token: str) -> Branch:
        while True:
            stored = await self.settled(id)
            if stored.branch.state != "open":
                raise ended(stored.branch)
            try:
                # Over another's seal is fine: the head stays frozen, and only one switch of the parent can win.
                await self.replace(stored, stored.branch, seal=token)
            except RevisionConflict:
                continue
            return stored.branch

    async def _switch(
        self,
        branch: Branch,
        token: str,
        on_conflict: OnConflict | Resolver,
        validate: Validator | None,
        expected: Heads | None,
    ) -> Mark:
        for attempt in range(_RETRIES):
            parent = await self._target(branch)
            own = await self.read(branch.id)  # after the parent was read: see the head of this file
            if parent.mark is not None and parent.mark.branch == branch.id:
                return parent.mark
            if own.seal != token:
                if own.branch.state != "open":
                    raise ended(own.branch)
                raise _TakenOver
            if branch.mode == "race":
                await self._check_race(branch)
            if expected is not None and expected != heads(branch, parent.branch)[: len(expected)]:
                raise moved_on(branch, expected, parent.branch)
            merged = await self._merging.contents(branch, parent.branch, on_conflict)
            if validate is not None:
                await _checked(validate, merged.tree, branch)
            mark = Mark(
                branch=branch.id,
                tree=merged.tree,
                before=parent.branch.head,
                fast_forward=parent.branch.head == branch.base,
                at=timestamp(),
                keys_before=parent.branch.shared.keys,
                keys=merged.keys,
                turns=branch.shared.turns - branch.base_shared.turns,
            )
            update = {"head": merged.tree, "shared": await self._merging.shared(branch, parent.branch, merged)}
            try:
                await self.replace(parent, parent.branch.model_copy(update=update), mark=mark)
            except RevisionConflict:
                await asyncio.sleep(random.random() * 0.002 * min(attempt, 20))
                continue
            return mark
        raise Conflict(f"branch {branch.parent!r} moves too fast: {_RETRIES} commits were overtaken", branch=branch.id)

    async def _check_race(self, branch: Branch) -> None:
        """Raises `Superseded` when another of its group was committed before the parent was read.

        Each commit into the parent up to then is finished, so the records say so; one after it makes our switch fail.
        """
        where = {"parent": branch.parent, "group": branch.group, "state": "committed"}
        for record in await self._records.find(where, limit=1):
            raise beaten(branch, record.key)

    async def _target(self, branch: Branch) -> Stored:
        """The parent, open, unsealed, the last commit into it finished."""
        parent = await self.writable(branch.parent)
        if parent.branch.state != "open":
            raise TerminalState(
                f"branch {branch.id!r} cannot be committed: its parent {branch.parent!r} is {parent.branch.state}",
                branch=branch.parent,
                state=parent.branch.state,
            )
        if parent.mark is not None and parent.mark.branch != branch.id:
            await self._finish(parent.mark)
        return parent

    async def _finish(self, mark: Mark) -> Stored:
        """Make the branch's own record say what the mark says. Done already: changes nothing."""
        while True:
            stored = await self.read(mark.branch)
            if stored.branch.state != "open":
                return stored
            update = {"state": "committed", "committed_tree": mark.tree, "ended_at": mark.at}
            try:
                return await self.replace(stored, stored.branch.model_copy(update=update))
            except RevisionConflict:
                continue

    async def _unseal(self, id: str, token: str) -> None:
        """Take the own seal off; whatever prevents it, the next writer does it instead."""
        try:
            stored = await self.read(id)
            if stored.seal == token:
                await self.replace(stored, stored.branch)
        except BoxhubError:
            pass

    async def _mark_of(self, stored: Stored) -> Mark | None:
        """The mark in the parent that says this branch is committed."""
        record = await self._records.get(stored.branch.parent)
        mark = load(record).mark if record is not None else None
        return mark if mark is not None and mark.branch == stored.branch.id else None

    async def _touch_parent(self, stored: Stored) -> Mark | None:
        """Make every switch of the parent prepared before now fail; the mark if one of ours went through first."""
        while True:
            parent = await self.read(stored.branch.parent)
            if parent.mark is not None and parent.mark.branch == stored.branch.id:
                return parent.mark
            try:
                await self.replace(parent, parent.branch, seal=parent.seal)
            except RevisionConflict:
                continue
            return None


async def _checked(validate: Validator, tree: str, branch: Branch) -> None:
    try:
        await validate(tree)
    except BoxhubError:
        raise
    except Exception as error:
        raise ValidationFailed(
            f"branch {branch.id!r} was not committed: the validator raised {type(error).__name__}: {error}",
            branch=branch.id,
            tree=tree,
        ) from error
