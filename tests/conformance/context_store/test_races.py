"""Races, rebasing, tags, the log, comparing: on every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from context_store.backend import Backend
from context_store.blobs.directory import DirectoryBlobs
from context_store.branch_records import load, to_doc
from context_store.branches import Branches
from context_store.store import ContextStore
from schemas.branch import Branch, CommitResult, Workspace
from schemas.errors import (
    AlreadyExists,
    BlobNotFound,
    BranchNotFound,
    InvalidInput,
    MergeConflict,
    Superseded,
    TerminalState,
    WorkspaceNotFound,
)
from schemas.tree import EMPTY_TREE


@pytest.fixture
def branches(scope) -> Branches:
    return scope.branches


@pytest.fixture
async def workspace(scope) -> Workspace:
    tree = await scope.trees.put_files(EMPTY_TREE, {"a": b"1\n2\n3\n4\n5\n", "d/b": b"b"})
    return await scope.workspaces.create("work", tree)


async def race(branches: Branches, parent: str, *names: str) -> list[Branch]:
    made = await branches.fork(parent, names, group="g", mode="race")
    return [await branches.write_files(branch.id, {branch.name: b"won"}) for branch in made]


async def test_the_first_commit_of_a_race_ends_the_others(scope, branches, workspace):
    one, two, three = await race(branches, workspace.root, "one", "two", "three")
    result = await branches.commit(two.id)
    assert set(result.superseded) == {one.id, three.id}
    assert {b.name: b.state for b in await branches.list(group="g")} == {
        "one": "superseded",
        "two": "committed",
        "three": "superseded",
    }
    with pytest.raises(TerminalState):
        await branches.commit(one.id)
    # kept, to be compared
    assert {change.path for change in await branches.compare(one.id, three.id)} == {"three"}
    assert await scope.trees.read_file((await branches.get(one.id)).head, "one") == b"won"


async def test_exactly_one_wins_however_many_finish_at_once(new_backend: Callable[[], Backend], tmp_path):
    blobs = DirectoryBlobs(tmp_path / "blobs")
    async with ContextStore(new_backend(), blobs) as here, ContextStore(new_backend(), blobs) as there:
        ours, theirs = here.tenant("default"), there.tenant("default")
        workspace = await ours.workspaces.create("work", EMPTY_TREE)
        for turn in range(5):
            made = await ours.branches.fork(workspace.root, [f"r{n}" for n in range(6)], group=f"g{turn}", mode="race")
            for branch in made:
                await ours.branches.write_files(branch.id, {f"{turn}-{branch.name}": b""})
            committers = [(ours if n % 2 else theirs).branches.commit(branch.id) for n, branch in enumerate(made)]
            found = await asyncio.gather(*committers, return_exceptions=True)
            won = [each for each in found if isinstance(each, CommitResult)]
            lost = [each for each in found if not isinstance(each, CommitResult)]
            assert len(won) == 1
            assert all(isinstance(each, TerminalState) for each in lost)
            states = [branch.state for branch in await ours.branches.list(group=f"g{turn}")]
            assert sorted(states) == ["committed"] + ["superseded"] * 5
        root = await ours.branches.get(workspace.root)
        assert len(await ours.trees.read(root.head)) == 5


async def test_a_race_whose_committer_was_killed_after_its_commit_is_ended_by_whoever_comes_next(
    scope, branches, workspace
):
    one, two, three = await race(branches, workspace.root, "one", "two", "three")
    await branches.commit(one.id)
    await reopen(scope, two.id, three.id)
    with pytest.raises(Superseded) as lost:
        await branches.commit(two.id)
    assert lost.value.details["winner"] == one.id
    assert (await branches.get(two.id)).state == "superseded"
    assert [branch.id for branch in await branches.end_races()] == [three.id]
    assert await branches.end_races() == []


async def reopen(scope, *ids: str) -> None:
    """As if the winner had been killed before it told them."""
    for id in ids:
        records = scope.branches._records
        record = await records.get(id)
        stored = load(record)
        await records.replace(
            id, to_doc(stored.branch.model_copy(update={"state": "open", "ended_at": None})), expected=record.revision
        )


async def test_one_that_was_discarded_before_stays_so(branches, workspace):
    one, two, three = await race(branches, workspace.root, "one", "two", "three")
    await branches.discard(one.id)
    assert (await branches.commit(two.id)).superseded == [three.id]
    assert (await branches.get(one.id)).state == "discarded"


async def test_another_race_from_the_same_parent_is_another_race(branches, workspace):
    one, _ = await race(branches, workspace.root, "one", "two")
    others = await branches.fork(workspace.root, ["x", "y"], group="h", mode="race")
    nested = await branches.fork(one.id, ["in", "out"], group="g", mode="race")
    await branches.commit(nested[0].id)
    await branches.commit(one.id)
    assert {b.state for b in await branches.list(group="h")} == {"open"}
    assert (await branches.commit(others[1].id)).superseded == [others[0].id]


async def test_a_race_that_ends_badly_goes_on(branches, workspace):
    one, two = await race(branches, workspace.root, "one", "two")
    await branches.write_files(one.id, {"a": b"ours"})
    await branches.write_files(workspace.root, {"a": b"theirs"})
    with pytest.raises(MergeConflict):
        await branches.commit(one.id)
    assert {b.state for b in await branches.list(group="g")} == {"open"}
    await branches.commit(two.id)


async def test_a_race_needs_a_group(branches, workspace):
    with pytest.raises(InvalidInput, match="group"):
        await branches.fork(workspace.root, ["a"], mode="race")


async def test_rebase_puts_the_changes_on_top_of_the_parent(scope, branches, workspace):
    (branch,) = await branches.fork(workspace.root, files={"a": b"1\n2\n3\n4\nfive\n", "new": b"n"})
    await branches.write_files(workspace.root, {"a": b"one\n2\n3\n4\n5\n"})
    moved = await branches.rebase(branch.id)
    assert await scope.trees.read_file(moved.head, "a") == b"one\n2\n3\n4\nfive\n"
    assert moved.base == (await branches.get(workspace.root)).head
    assert [change.path for change in await branches.diff(branch.id)] == ["a", "new"]
    assert await branches.rebase(branch.id) == moved
    assert (await branches.commit(branch.id)).fast_forward


async def test_a_rebase_that_conflicts_changes_nothing(branches, workspace):
    (branch,) = await branches.fork(workspace.root, files={"a": b"ours"})
    await branches.write_files(workspace.root, {"a": b"theirs"})
    before = await branches.get(branch.id)
    with pytest.raises(MergeConflict):
        await branches.rebase(branch.id)
    assert await branches.get(branch.id) == before
    await branches.rebase(branch.id, on_conflict="ours")
    with pytest.raises(InvalidInput, match="root"):
        await branches.rebase(workspace.root)


async def test_nothing_is_lost_when_a_branch_is_written_while_it_is_rebased(scope, branches, workspace):
    (branch,) = await branches.fork(workspace.root)
    async with asyncio.TaskGroup() as group:
        for n in range(8):
            group.create_task(branches.write_files(branch.id, {f"mine/{n}": b""}))
            group.create_task(branches.write_files(workspace.root, {f"theirs/{n}": b""}))
            group.create_task(branches.rebase(branch.id))
    head = (await branches.rebase(branch.id)).head
    files = {path async for path, _ in scope.trees.walk(head)}
    assert {f"mine/{n}" for n in range(8)} | {f"theirs/{n}" for n in range(8)} <= files


async def test_a_tag_names_files_for_good(scope, branches, workspace):
    before = (await branches.get(workspace.root)).head
    tagged = await scope.workspaces.tag(workspace.id, "v1", workspace.root, by="me")
    assert (tagged.tags["v1"].tree, tagged.tags["v1"].by) == (before, "me")
    assert await scope.workspaces.tag(workspace.id, "v1", workspace.root) == tagged
    await branches.write_files(workspace.root, {"a": b"changed"})
    with pytest.raises(AlreadyExists):
        await scope.workspaces.tag(workspace.id, "v1", workspace.root)
    assert [c.path for c in await branches.compare(before, workspace.root)] == ["a"]
    assert (await scope.workspaces.untag(workspace.id, "v1")).tags == {}
    assert (await scope.workspaces.untag(workspace.id, "v1")).tags == {}
    assert (await scope.workspaces.tag(workspace.id, "v1", workspace.root)).tags["v1"].tree != before


async def test_tags_that_cannot_be_are_refused(scope, workspace):
    other = await scope.workspaces.create("other")
    for name, branch in (("", workspace.root), ("x" * 201, workspace.root), ("v1", other.root)):
        with pytest.raises(InvalidInput):
            await scope.workspaces.tag(workspace.id, name, branch)
    with pytest.raises(BranchNotFound):
        await scope.workspaces.tag(workspace.id, "v1", "branch-no")
    with pytest.raises(WorkspaceNotFound):
        await scope.workspaces.untag("ws-no", "v1")


async def test_two_tags_at_once_are_both_kept(scope, workspace):
    await asyncio.gather(*(scope.workspaces.tag(workspace.id, f"v{n}", workspace.root) for n in range(8)))
    assert len((await scope.workspaces.get(workspace.id)).tags) == 8


async def test_the_log_tells_what_was_committed_the_last_first(branches, workspace):
    made = await branches.fork(workspace.root, ["one", "two", "three"])
    for branch in (made[1], made[0]):
        await branches.commit(branch.id)
    assert [branch.name for branch in await branches.log(workspace.root)] == ["one", "two"]
    assert [branch.name for branch in await branches.log(workspace.root, limit=1)] == ["one"]
    assert await branches.log(made[2].id) == []


async def test_what_is_not_there_cannot_be_compared(branches, workspace):
    with pytest.raises(BranchNotFound):
        await branches.compare(workspace.root, "branch-no")
    with pytest.raises(BlobNotFound):
        await branches.compare(workspace.root, "0" * 64)
