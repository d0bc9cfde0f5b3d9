"""A commit cut off before or after any of its writes happened or did not; whoever comes next repairs it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from context_store.backend import Document, Record, Records
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.branch_records import BRANCHES
from context_store.branches import Branches
from context_store.conversations.turn_log import BATCHES, TURN_INDEX, TurnLog
from context_store.store import ContextStore
from schemas.branch import Branch
from schemas.conversation import Turn
from schemas.errors import StoreUnavailable, TerminalState
from schemas.part import Part
from schemas.tree import EMPTY_TREE

BASE = {"text": b"1\n2\n3\n4\n5\n", "other": b"x"}
OURS = {"text": b"1\n2\n3\n4\nFIVE\n", "new": b"n"}
THEIRS = {"text": b"ONE\n2\n3\n4\n5\n"}
MERGED = b"ONE\n2\n3\n4\nFIVE\n"


class Killed(BaseException):
    """The process ends here: nothing of it runs any more, so no clean-up may rely on being run."""


class Cut:
    """Lets writes through, until the one with the given number."""

    def __init__(self, at: int, when: Literal["before", "after"], cut: type[BaseException]) -> None:
        self._left, self._when, self._cut = at, when, cut
        self.reached = False

    async def write(self, write: Callable[[], Awaitable[Any]]) -> Any:
        self._left -= 1
        if self._left != 0:
            return await write()
        self.reached = True
        if self._when == "after":
            await write()
        raise self._cut("cut off")


class CutRecords(Records):
    """Real records, until the cut, which it shares with others."""

    def __init__(self, records: Records, cut: Cut) -> None:
        self.collection, self.tenant = records.collection, records.tenant
        self._records, self._write = records, cut.write

    async def insert(self, key: str, doc: Document, *, revision: int = 1) -> int:
        return await self._write(lambda: self._records.insert(key, doc, revision=revision))

    async def replace(self, key: str, doc: Document, *, expected: int) -> int:
        return await self._write(lambda: self._records.replace(key, doc, expected=expected))

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        return await self._write(lambda: self._records.delete(key, expected=expected))

    async def get(self, key: str) -> Record | None:
        return await self._records.get(key)

    async def find(self, *args: Any, **kwargs: Any) -> list[Record]:
        return await self._records.find(*args, **kwargs)


class World:
    """A workspace, a branch to be committed into its root, and what the root was before."""

    def __init__(self, store: ContextStore, backend: SqliteBackend) -> None:
        self.scope, self.backend = store.tenant("default"), backend
        self.root = self.branch = ""
        self.log = TurnLog(backend.records("default", BATCHES), backend.records("default", TURN_INDEX))
        self.before = ""

    async def prepare(self, *, moved: bool) -> World:
        tree = await self.scope.trees.put_files(EMPTY_TREE, BASE)
        self.root = (await self.scope.workspaces.create("w", tree)).root
        (branch,) = await self.scope.branches.fork(self.root, ["try"], files=OURS)
        self.branch = branch.id
        await self._say(self.branch, "first", "second")
        if moved:
            await self.scope.branches.write_files(self.root, THEIRS)
            await self._say(self.root, "meanwhile")
        self.before = (await self.scope.branches.get(self.root)).head
        return self

    async def _say(self, branch: str, *texts: str) -> None:
        turns = [Turn(parts=[Part(text=text)]) for text in texts]
        await self.scope.conversations.append(f"@{branch}", turns)
        await self.scope.keyvalues_on(branch).put(texts[0], list(texts))

    def fresh(self) -> Branches:
        """Branches as a process sees them that knows nothing of the one that died."""
        return Branches(self.backend.records("default", BRANCHES), self.scope.trees, self.log)

    async def cut_commit(self, at: int, when: Literal["before", "after"], cut: type[BaseException]) -> bool:
        """Commit, cut off at a write; False when the commit has fewer writes."""
        limit = Cut(at, when, cut)
        records = [CutRecords(self.backend.records("default", c), limit) for c in (BRANCHES, BATCHES, TURN_INDEX)]
        try:
            await Branches(records[0], self.scope.trees, TurnLog(records[1], records[2])).commit(self.branch)
        except* (Killed, StoreUnavailable):
            assert limit.reached
        return limit.reached

    async def switched(self) -> bool:
        """Whether the parent's pointer has moved: read raw, so that nothing is repaired by looking."""
        record = await self.backend.records("default", BRANCHES).get(self.root)
        return record.doc["head"] != self.before

    async def text(self) -> bytes:
        """The merged file; the conversation and the key-values of the parent must be as old or as new as it is."""
        head = (await self.scope.branches.get(self.root)).head
        text = await self.scope.trees.read_file(head, "text")
        ours, theirs = (b"FIVE" in text), (b"ONE" in text)
        said = [turn.text for turn in await self.scope.conversations.turns(f"@{self.root}")]
        assert [t for t in said if not t.startswith("(joined")] == ["meanwhile"] * theirs + ["first", "second"] * ours
        assert len(said) == theirs + 2 * ours + (ours and theirs)
        keys = {entry.key for entry in await self.scope.keyvalues_on(self.root).list()}
        assert keys == {*(["meanwhile"] if theirs else []), *(["first"] if ours else [])}
        return text


@pytest.fixture
async def world(tmp_path: Path):
    backend = SqliteBackend(tmp_path / "s.db")
    async with ContextStore(backend, DirectoryBlobs(tmp_path / "b")) as store:
        yield lambda: World(store, backend)


async def look(world: World) -> Branch:
    return await world.fresh().get(world.branch)


async def list_(world: World) -> Branch:
    (found,) = await world.fresh().list(parent=world.root)
    return found


async def advance(world: World) -> Branch:
    branches = world.fresh()
    tree = await world.scope.trees.put_files((await look(world)).head, {"later": b"1"})
    try:
        await branches.advance(world.branch, tree, (await look(world)).head)
    except TerminalState:
        pass
    return await look(world)


async def discard(world: World) -> Branch:
    try:
        await world.fresh().discard(world.branch)
    except TerminalState:
        pass
    return await look(world)


async def again(world: World) -> Branch:
    try:
        await world.fresh().commit(world.branch)
    except TerminalState:
        pass
    return await look(world)


async def sibling(world: World) -> Branch:
    """Another commit into the same parent overwrites the mark; it has to finish the first one before."""
    branches = world.fresh()
    (other,) = await branches.fork(world.root, files={"sibling": b"1"})
    await branches.commit(other.id)
    return await look(world)


@pytest.mark.parametrize("cut", [Killed, StoreUnavailable])
@pytest.mark.parametrize("moved", [False, True], ids=["fast-forward", "merge"])
@pytest.mark.parametrize("next_one", [look, list_, advance, discard, again, sibling])
async def test_cut_at_every_write(world, next_one, moved, cut):
    seen = set()
    for when, at in itertools.product(("before", "after"), range(1, 15)):
        here = await world().prepare(moved=moved)
        if not await here.cut_commit(at, when, cut):
            continue
        switched = await here.switched()
        seen.add(switched)
        branch = await next_one(here)
        text = MERGED if moved else OURS["text"]
        if switched:
            assert (branch.state, branch.committed_tree != "") == ("committed", True)
            assert await here.text() == text
            with pytest.raises(TerminalState):
                await here.fresh().advance(here.branch, EMPTY_TREE, branch.head)
        elif next_one is again:
            assert branch.state == "committed"
            assert await here.text() == text
        elif next_one is discard:
            assert branch.state == "discarded"
            assert await here.text() == (THEIRS if moved else BASE)["text"]
        else:
            assert (branch.state, branch.committed_tree) == ("open", "")
            assert await here.text() == (THEIRS if moved else BASE)["text"]
            await here.fresh().commit(here.branch)
            assert await here.text() == text
            paths = {path async for path, _ in here.scope.trees.walk((await here.fresh().get(here.root)).head)}
            assert ("later" in paths) == (next_one is advance)
    assert seen == {False, True}, "cut before and after the switch"


async def test_a_slow_committer_does_not_commit_what_was_advanced_meanwhile(world, monkeypatch):
    """It sealed, prepared its switch and was paused there; another took the seal off and advanced the branch."""
    here = await world().prepare(moved=False)
    slow = here.fresh()
    real = slow._commits.replace
    paused: list[bool] = []

    async def replace(stored, branch, **kwargs):
        if kwargs.get("mark") is not None and not paused:
            paused.append(True)
            tree = await here.scope.trees.put_files((await look(here)).head, {"later": b"acknowledged"})
            assert (await here.fresh().advance(here.branch, tree, (await look(here)).head)).head == tree
        return await real(stored, branch, **kwargs)

    monkeypatch.setattr(slow._commits, "replace", replace)
    result = await slow.commit(here.branch)
    assert paused
    assert await here.scope.trees.read_file(result.tree, "later") == b"acknowledged"
    assert (await here.fresh().get(here.root)).head == result.tree


async def test_a_slow_committer_does_not_commit_what_was_discarded_meanwhile(world, monkeypatch):
    here = await world().prepare(moved=False)
    slow = here.fresh()
    real = slow._commits.replace

    async def replace(stored, branch, **kwargs):
        if kwargs.get("mark") is not None:
            await here.fresh().discard(here.branch)
        return await real(stored, branch, **kwargs)

    monkeypatch.setattr(slow._commits, "replace", replace)
    with pytest.raises(TerminalState):
        await slow.commit(here.branch)
    assert not await here.switched()
    assert (await look(here)).state == "discarded"
