"""Branches: fork, advance, diff, discard. How one is committed is in `commits`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from context_store.backend import Document, Record, Records
from context_store.branch_records import conflict_of_heads, ended, heads, load, to_doc
from context_store.commits import Commits, Heads, Validator
from context_store.conversations.joining import chain_of, line_of, pointing
from context_store.conversations.turn_log import TurnLog
from context_store.plans import Resolved
from context_store.trees import FileEdit, Resolver, Trees, merge_conflict
from schemas.branch import Branch, BranchMode, BranchState, CommitResult, MergePlan, OnConflict, Resolutions
from schemas.errors import (
    AlreadyExists,
    BlobNotFound,
    IdempotencyConflict,
    InvalidInput,
    RevisionConflict,
    Superseded,
    TerminalState,
)
from schemas.ids import check_name, new_id
from schemas.model import timestamp
from schemas.tree import Change, check_hash, is_hash, shown_name

MAX_FORK: Final = 1000
MAX_DIFF_TEXT_BYTES: Final = 1024 * 1024


class Branches:
    """The branches of one tenant. A branch is one record under 64 KiB; its files are a tree, shared with its parent."""

    def __init__(self, records: Records, trees: Trees, log: TurnLog) -> None:
        self._records = records
        self._trees = trees
        self._commits = Commits(records, trees, log)

    @property
    def refs(self) -> Commits:
        """The branch records, for what else is kept in them."""
        return self._commits

    async def get(self, id: str) -> Branch:
        """The branch as it is. Raises `BranchNotFound`. Finishes a commit that was cut off after its switch."""
        return (await self._commits.settled(id)).branch

    async def fork(
        self,
        parent: str,
        names: Sequence[str] = ("",),
        *,
        ids: Sequence[str] | None = None,
        files: Mapping[str, FileEdit] | None = None,
        group: str = "",
        mode: BranchMode = "join",
        owner: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> list[Branch]:
        """One new branch per name, all from the parent's present head, with ``files`` put in (see `Trees.put_files`).

        O(1) in the size of the tree, of the conversation and of the key-values. Of the branches of one
        parent and ``group`` in ``mode`` race exactly one can be committed. With ``ids``, one per
        name, doing it again gives the same branches, as they are by then. Raises `TerminalState` if the parent has
        ended, `InvalidInput` for no or more than 1,000 names or a race without a group, `IdempotencyConflict` for
        the id of another branch.
        """
        if not 1 <= len(names) <= MAX_FORK:
            raise InvalidInput(f"{len(names)} names: fork 1 to {MAX_FORK} branches at once")
        chosen = [check_name(id, "branch") for id in ids] if ids else [new_id("branch") for _ in names]
        if mode == "race" and not group:
            raise InvalidInput("a race needs a group: the branches of which one is to be committed")
        if len(chosen) != len(names) or len(set(chosen)) != len(chosen):
            raise InvalidInput(f"{len(chosen)} ids for {len(names)} names: give each branch an id of its own")
        source = await self.get(parent)
        if ids and len(there := await self._forked(source, chosen, names)) == len(names):
            return there
        if source.state != "open":
            raise ended(source)
        head = await self._trees.put_files(source.head, files or {})
        now = timestamp()
        turns = chain_of(source.shared, line_of(source.id))
        branches = [
            Branch(
                id=id,
                workspace=source.workspace,
                name=name,
                parent=source.id,
                base=source.head,
                head=head,
                conversation=source.conversation,
                base_shared=source.shared.model_copy(update={"past": ()}),
                shared=pointing(source.shared, turns.cut_at(turns.turns, line_of(id)), source.shared.turn),
                owner=owner,
                group=group,
                mode=mode,
                created_at=now,
                metadata=dict(metadata or {}),
            )
            for id, name in zip(chosen, names, strict=True)
        ]
        docs = [to_doc(branch) for branch in branches]  # all are checked before the first is stored
        if len(branches) == 1:
            return [await self._insert(branches[0], docs[0])]
        async with asyncio.TaskGroup() as inserts:
            stored = [inserts.create_task(self._insert(b, doc)) for b, doc in zip(branches, docs, strict=True)]
        return [task.result() for task in stored]

    async def _forked(self, source: Branch, ids: Sequence[str], names: Sequence[str]) -> list[Branch]:
        """Those of them that are there already. Raises `IdempotencyConflict`."""
        found: list[Branch] = []
        for id, name in zip(ids, names, strict=True):
            if (record := await self._records.get(id)) is None:
                continue
            branch = await self._settle(record)
            if (branch.parent, branch.name) != (source.id, name):
                raise _taken(branch)
            found.append(branch)
        return found

    async def _insert(self, branch: Branch, doc: Document) -> Branch:
        """The branch as it is stored, by this call or by the same one before. Raises `IdempotencyConflict`."""
        try:
            await self._records.insert(branch.id, doc)
        except AlreadyExists:
            there = await self.get(branch.id)
            if (there.parent, there.name) != (branch.parent, branch.name):
                raise _taken(there) from None
            return there
        return branch

    async def create_root(self, branch: Branch) -> Branch:
        """Store the first branch of a workspace. Raises `BlobNotFound` if its tree is not stored."""
        await self._check_tree(branch.head)
        await self._records.insert(branch.id, to_doc(branch))
        return branch

    async def advance(self, id: str, head: str, expected: str) -> Branch:
        """Move the head from ``expected`` to ``head``, a stored tree. Doing it again changes nothing.

        Raises `RevisionConflict` (``details``: the heads expected and found), `TerminalState`, `BlobNotFound`.
        """
        await self._check_tree(head)
        while True:
            stored = await self._commits.writable(id)
            branch = stored.branch
            if branch.state != "open":
                raise ended(branch)
            if branch.head == head:
                return branch
            if branch.head != expected:
                raise conflict_of_heads(branch, expected)
            moved = branch.model_copy(update={"head": head})
            try:
                await self._commits.replace(stored, moved)
            except RevisionConflict:
                continue  # read again: the heads decide, not the revision
            return moved

    async def write_files(self, id: str, files: Mapping[str, FileEdit]) -> Branch:
        """Put files into the head (see `Trees.put_files`), on top of whatever others advanced it to meanwhile."""
        while True:
            branch = await self.get(id)
            head = await self._trees.put_files(branch.head, files)
            try:
                return await self.advance(id, head, branch.head)
            except RevisionConflict:
                continue

    async def diff(self, id: str) -> list[Change]:
        """What the branch changed since its base, sorted by path; files that moved are one change each."""
        branch = await self.get(id)
        return await self._trees.diff(branch.base, branch.head, renames=True)

    async def compare(self, left: str, right: str) -> list[Change]:
        """What makes the files of ``left`` those of ``right``, each a branch (its head) or the hash of a tree."""
        return await self._trees.diff(await self._tree_of(left), await self._tree_of(right), renames=True)

    async def log(self, id: str, limit: int = 100) -> list[Branch]:
        """The branches committed into this one, the last first."""
        found: list[Branch] = []
        after = None
        while page := await self.list(parent=id, state="committed", limit=1000, after=after):
            found, after = [*found, *page], page[-1].id
        return sorted(found, key=lambda branch: (branch.ended_at or 0.0, branch.id), reverse=True)[:limit]

    async def rebase(
        self, id: str, *, on_conflict: OnConflict = "fail", resolutions: Resolutions | None = None
    ) -> Branch:
        """Put what the branch changed on top of its parent's present head, which becomes its base.

        So with its key-values; what was said stays as it is, and the commit joins it. One write; what works on the
        branch meanwhile finds a head that has moved. Raises `MergeConflict`: then nothing has changed; `TerminalState`.
        """
        while True:
            plan = await self.plan(id, resolutions=resolutions, on_conflict=on_conflict)
            if plan.conflicts:
                raise merge_conflict(plan.conflicts, plan.base, plan.ours, plan.theirs)
            stored = await self._commits.writable(id)
            if stored.branch.state != "open":
                raise ended(stored.branch)
            own, parent = stored.branch, await self.get(stored.branch.parent)
            planned = (plan.ours, plan.theirs, plan.our_keys, plan.their_keys)
            if heads(own, parent) != planned or own.base != plan.base:
                continue
            there, revision = parent.shared, own.shared.revision
            if there.revision != own.base_shared.revision:  # values came that no reader of the branch has seen
                revision = max(revision, there.revision) + 1
            base = own.base_shared.model_copy(update={"keys": there.keys, "revision": there.revision})
            shared = own.shared.model_copy(update={"keys": plan.keys, "revision": revision})
            update = {"base": plan.theirs, "head": plan.tree, "base_shared": base, "shared": shared}
            moved = own.model_copy(update=update)
            try:
                await self._commits.replace(stored, moved)
            except RevisionConflict:
                continue
            return moved

    async def diff_text(self, id: str) -> list[tuple[Change, str]]:
        """`diff` with a unified diff for each path; after 1 MiB of text the rest says that it was left out."""
        shown: list[tuple[Change, str]] = []
        left = MAX_DIFF_TEXT_BYTES
        for change in await self.diff(id):
            text = (
                await self._trees.change_text(change)
                if left > 0
                else f"{shown_name(change.path)}: left out, see the file\n"
            )
            left -= len(text)
            shown.append((change, text))
        return shown

    async def plan(
        self, id: str, *, resolutions: Resolutions | None = None, on_conflict: OnConflict = "fail"
    ) -> MergePlan:
        """What a commit would do now, conflicts included; see `Commits.plan`."""
        await self._check_stored(resolutions or {})
        return await self._commits.plan(id, resolutions or {}, on_conflict)

    async def commit(
        self,
        id: str,
        *,
        on_conflict: OnConflict | Resolver = "fail",
        resolutions: Resolutions | None = None,
        expected: Heads | None = None,
        validate: Validator | None = None,
    ) -> CommitResult:
        """Merge the branch into its parent; see `Commits.run`.

        ``resolutions`` settle conflicts by path before ``on_conflict`` is asked; give the heads they were made for
        as ``expected``.
        """
        if resolutions:
            if callable(on_conflict):
                raise InvalidInput("give resolutions or a callable for on_conflict, not both")
            await self._check_stored(resolutions)
            on_conflict = Resolved(resolutions, on_conflict)
        try:
            result = await self._commits.run(id, on_conflict, validate, expected)
        except Superseded:
            await self._lose(id)
            raise
        if (branch := await self.get(id)).mode == "race":
            beaten = await self.supersede(branch.group, branch.parent, id)
            return result.model_copy(update={"superseded": [loser.id for loser in beaten]})
        return result

    async def discard(self, id: str, state: Literal["discarded", "superseded"] = "discarded") -> Branch:
        """End the branch without effect on its parent; doing it again is fine. Raises `TerminalState`."""
        if state not in ("discarded", "superseded"):
            raise InvalidInput(f"state {state!r}: use 'discarded' or 'superseded'")
        while True:
            stored = await self._commits.writable(id)
            branch = stored.branch
            if not branch.parent:
                raise InvalidInput(f"branch {id!r} is the root of its workspace and cannot be discarded", branch=id)
            if branch.state == state:
                return branch
            if branch.state != "open":
                raise ended(branch)
            gone = branch.model_copy(update={"state": state, "ended_at": timestamp()})
            try:
                await self._commits.replace(stored, gone)
            except RevisionConflict:
                continue
            return gone

    async def supersede(self, group: str, parent: str, winner: str) -> list[Branch]:
        """End the open branches of a race but the winner; returns those ended now."""
        beaten: list[Branch] = []
        while page := await self.list(group=group, parent=parent, state="open", limit=MAX_FORK):
            rest = [branch.id for branch in page if branch.id != winner]
            beaten += [branch for id in rest if (branch := await self._lose(id)) is not None]
            if len(page) < MAX_FORK:
                break
        return beaten

    async def end_races(self) -> list[Branch]:
        """Supersede what a committer that was killed after its commit left open; those ended now."""
        beaten: list[Branch] = []
        open_: dict[tuple[str, str], str] = {}
        after = None
        while page := await self._records.find({"mode": "race", "state": "open"}, after=after, limit=1000):
            open_ |= {(record.doc["group"], record.doc["parent"]): record.key for record in page}
            after = page[-1].key
        for group, parent in open_:
            for winner in await self.list(group=group, parent=parent, state="committed", limit=1):
                beaten += await self.supersede(group, parent, winner.id)
        return beaten

    async def _lose(self, id: str) -> Branch | None:
        try:
            return await self.discard(id, "superseded")
        except TerminalState:
            return None  # it ended by itself meanwhile

    async def list(
        self,
        *,
        workspace: str | None = None,
        state: BranchState | None = None,
        parent: str | None = None,
        group: str | None = None,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = False,
    ) -> list[Branch]:
        """Up to ``limit`` branches in the order they were created, or the reverse; page with ``after``, the last id."""
        order = "-key" if newest_first else "key"
        wanted = {"workspace": workspace, "state": state, "parent": parent, "group": group}
        where = {name: value for name, value in wanted.items() if value is not None}
        found: list[Branch] = []
        while len(found) < limit:
            page = await self._records.find(where, after=after, limit=limit, order=order)
            settled = [await self._settle(record) for record in page]
            found += [b for b in settled if state is None or b.state == state]
            if len(page) < limit:
                break
            after = page[-1].key
        return found[:limit]

    async def _settle(self, record: Record) -> Branch:
        stored = load(record)
        return stored.branch if not stored.seal else (await self._commits.settled(stored.branch.id)).branch

    async def _check_stored(self, resolutions: Resolutions) -> None:
        wanted = [entry.hash for answer in resolutions.values() for entry in answer.values() if entry is not None]
        if missing := await self._trees.blobs.missing([check_hash(digest) for digest in wanted]):
            raise BlobNotFound(f"no blob {missing[0]}; store the content of a resolution first", hash=missing[0])

    async def _tree_of(self, name: str) -> str:
        """Of a branch, or the hash itself. Raises `BranchNotFound`, `BlobNotFound`."""
        if not is_hash(name):
            return (await self.get(name)).head
        await self._check_tree(name)
        return name

    async def _check_tree(self, tree: str) -> None:
        if await self._trees.blobs.missing([check_hash(tree)]):
            raise BlobNotFound(f"no tree {tree}; store its blobs before pointing a branch at it", hash=tree)


def _taken(branch: Branch) -> IdempotencyConflict:
    return IdempotencyConflict(f"branch {branch.id!r} is there already, forked from another one", branch=branch.id)
