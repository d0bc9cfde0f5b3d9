"""Workspaces and branches: fork, advance, diff, commit, discard."""

from __future__ import annotations

import asyncio

import pytest

from context_store.branches import Branches
from schemas.branch import Branch, Workspace
from schemas.errors import (
    AlreadyExists,
    BlobNotFound,
    BranchNotFound,
    IdempotencyConflict,
    InvalidInput,
    MergeConflict,
    PayloadTooLarge,
    RevisionConflict,
    TerminalState,
    ValidationFailed,
    WorkspaceNotFound,
)
from schemas.tree import EMPTY_TREE, blob_hash

FILES = {
    "README": b"one\ntwo\nthree\nfour\nfive\n",
    "src/a.py": b"a = 1\n",
    "src/b.py": b"b = 1\n",
    "bin/run": (b"#!", 0o755),
}


@pytest.fixture
def branches(scope) -> Branches:
    return scope.branches


@pytest.fixture
async def workspace(scope) -> Workspace:
    tree = await scope.trees.put_files(EMPTY_TREE, FILES)
    return await scope.workspaces.create("work", tree, owner="planner", metadata={"k": 1})


async def fork(branches: Branches, parent: str, **files: bytes | None) -> Branch:
    """A branch with files put in; ``__`` in a name stands for a slash, ``_`` before the end for a dot."""
    edits = {name.replace("__", "/"): data for name, data in files.items()}
    return (await branches.fork(parent, files=edits))[0]


async def content(scope, branch: str, path: str) -> bytes:
    return await scope.trees.read_file((await scope.branches.get(branch)).head, path)


# --- workspaces -----------------------------------------------------------------------------------------------------


async def test_a_workspace_has_a_root_branch(scope, workspace):
    assert await scope.workspaces.get(workspace.id) == workspace
    root = await scope.branches.get(workspace.root)
    assert (root.workspace, root.parent, root.state, root.owner) == (workspace.id, "", "open", "planner")
    assert await content(scope, root.id, "src/a.py") == b"a = 1\n"
    empty = await scope.workspaces.create("empty")
    assert (await scope.branches.get(empty.root)).head == EMPTY_TREE
    assert [w.id for w in await scope.workspaces.list()] == [workspace.id, empty.id]
    assert [w.id for w in await scope.workspaces.list(name="empty")] == [empty.id]


async def test_what_no_workspace_can_be(scope):
    with pytest.raises(WorkspaceNotFound):
        await scope.workspaces.get("ws-none")
    with pytest.raises(InvalidInput):
        await scope.workspaces.create("")
    with pytest.raises(BlobNotFound):
        await scope.workspaces.create("x", blob_hash(b"not stored"))
    with pytest.raises(InvalidInput):
        await scope.workspaces.create("x", "no hash")
    await scope.workspaces.create("x", id="mine")
    with pytest.raises(AlreadyExists):
        await scope.workspaces.create("x", id="mine")


# --- fork, advance, diff --------------------------------------------------------------------------------------------


async def test_fork_many_with_one_edit(scope, branches, workspace):
    edits = {"src/a.py": b"a = 2\n", "new/deep/file": b"x", "src/b.py": None}
    made = await branches.fork(
        workspace.root, ["c1", "c2", "c3"], files=edits, group="race", owner="coder", metadata={"try": [1]}
    )
    root = await branches.get(workspace.root)
    assert [b.name for b in made] == ["c1", "c2", "c3"]
    assert len({b.id for b in made}) == 3
    for branch in made:
        assert await branches.get(branch.id) == branch
        assert (branch.parent, branch.base, branch.group) == (root.id, root.head, "race")
        assert (branch.owner, branch.metadata, branch.workspace) == ("coder", {"try": [1]}, workspace.id)
        changes = [(c.path, c.kind) for c in await branches.diff(branch.id)]
        assert changes == [("new/deep/file", "added"), ("src/a.py", "modified"), ("src/b.py", "deleted")]
    assert await content(scope, root.id, "src/a.py") == b"a = 1\n"
    assert await branches.diff(root.id) == []


async def test_a_fork_that_is_asked_for_again_is_made_once(branches, workspace):
    made = await branches.fork(workspace.root, ["a", "b"], ids=["one", "two"], files={"x": b"1"})
    assert [b.id for b in made] == ["one", "two"]
    await branches.write_files("one", {"y": b"2"})
    await branches.discard("two")
    again = await branches.fork(workspace.root, ["a", "b"], ids=["one", "two"], files={"x": b"1"})
    assert [(b.id, b.state) for b in again] == [("one", "open"), ("two", "discarded")]
    assert again[0].head != made[0].head
    (half, new) = await branches.fork(workspace.root, ["b", "c"], ids=["two", "three"])  # cut off in the middle
    assert (half.state, new.id) == ("discarded", "three")
    with pytest.raises(IdempotencyConflict):
        await branches.fork(workspace.root, ["other"], ids=["one"])
    with pytest.raises(IdempotencyConflict):
        await branches.fork("one", ["a"], ids=["one"])
    for ids in (["same", "same"], ["only"], ["Not a name", "ok"]):
        with pytest.raises(InvalidInput):
            await branches.fork(workspace.root, ["a", "b"], ids=ids)
    assert len(await branches.list()) == 4


async def test_many_that_ask_for_one_fork_at_once_get_one(branches, workspace):
    made = await asyncio.gather(*(branches.fork(workspace.root, ["a"], ids=["one"]) for _ in range(20)))
    assert {fork.id for (fork,) in made} == {"one"}
    assert len(await branches.list()) == 2


async def test_diff_shows_text(branches, workspace):
    branch = await fork(branches, workspace.root, README=b"one\nTWO\nthree\nfour\nfive\n", image=b"\0\1")
    shown = {change.path: text for change, text in await branches.diff_text(branch.id)}
    assert "-two\n+TWO\n" in shown["README"]
    assert shown["README"].startswith("--- a/README\n+++ b/README\n@@ -1,5 +1,5 @@\n")
    assert shown["image"] == "Binary files /dev/null and b/image differ\n"


async def test_branches_nest(scope, branches, workspace):
    one = await fork(branches, workspace.root, a=b"1")
    two = await fork(branches, one.id, b=b"2")
    await branches.commit(two.id)
    assert await content(scope, one.id, "b") == b"2"
    await branches.commit(one.id)
    assert await content(scope, workspace.root, "a") == b"1"
    assert await content(scope, workspace.root, "b") == b"2"


async def test_advance_moves_the_head_by_compare_and_set(scope, branches, workspace):
    branch = await fork(branches, workspace.root)
    tree = await scope.trees.put_files(branch.head, {"x": b"1"})
    moved = await branches.advance(branch.id, tree, branch.head)
    assert moved.head == tree
    assert await branches.advance(branch.id, tree, branch.head) == moved
    other = await scope.trees.put_files(branch.head, {"x": b"2"})
    with pytest.raises(RevisionConflict) as conflict:
        await branches.advance(branch.id, other, branch.head)
    assert (conflict.value.details["expected"], conflict.value.details["actual"]) == (branch.head, tree)
    with pytest.raises(BlobNotFound):
        await branches.advance(branch.id, blob_hash(b"nowhere"), tree)
    with pytest.raises(BranchNotFound):
        await branches.advance("branch-none", tree, tree)


async def test_files_written_at_once_all_arrive(scope, branches, workspace):
    await asyncio.gather(*(branches.write_files(workspace.root, {f"f{n}": b"%d" % n}) for n in range(12)))
    for n in range(12):
        assert await content(scope, workspace.root, f"f{n}") == b"%d" % n


async def test_list(branches, workspace):
    made = await branches.fork(workspace.root, ["a", "b", "c"], group="g")
    nested = await fork(branches, made[0].id)
    await branches.discard(made[1].id)
    everything = [workspace.root, *(b.id for b in made), nested.id]
    assert {b.id for b in await branches.list(workspace=workspace.id)} == set(everything)
    assert {b.id for b in await branches.list(state="open")} == set(everything) - {made[1].id}
    assert [b.id for b in await branches.list(state="discarded")] == [made[1].id]
    assert {b.id for b in await branches.list(group="g", state="open")} == {made[0].id, made[2].id}
    assert [b.id for b in await branches.list(parent=made[0].id)] == [nested.id]
    assert await branches.list(workspace="ws-none") == []
    pages = [await branches.list(limit=2)]
    while pages[-1]:
        pages.append(await branches.list(limit=2, after=pages[-1][-1].id))
    assert sorted(b.id for page in pages for b in page) == sorted(everything)


async def test_fork_is_refused(branches, workspace):
    with pytest.raises(BranchNotFound):
        await branches.fork("branch-none")
    with pytest.raises(InvalidInput):
        await branches.fork(workspace.root, [])
    with pytest.raises(InvalidInput):
        await branches.fork(workspace.root, files={"../x": b""})
    with pytest.raises(PayloadTooLarge):
        await branches.fork(workspace.root, ["a", "b"], metadata={"x": "y" * 70_000})
    gone = await fork(branches, workspace.root)
    await branches.discard(gone.id)
    with pytest.raises(TerminalState):
        await branches.fork(gone.id)
    assert len(await branches.list()) == 2


async def test_a_branch_record_is_small(scope, branches, workspace):
    tree = await scope.trees.put_files(EMPTY_TREE, {f"d{n % 20}/f{n}": b"%d" % n for n in range(400)})
    await branches.advance(workspace.root, tree, (await branches.get(workspace.root)).head)
    branch = await fork(branches, workspace.root, x=b"1")
    assert len(branch.model_dump_json()) < 1024


# --- commit ---------------------------------------------------------------------------------------------------------


async def test_commit_is_a_fast_forward_when_the_parent_has_not_moved(scope, branches, workspace):
    branch = await fork(branches, workspace.root, README=b"new\n")
    result = await branches.commit(branch.id)
    assert (result.fast_forward, result.branch, result.target, result.tree) == (
        True,
        branch.id,
        workspace.root,
        branch.head,
    )
    assert [c.path for c in result.changes] == ["README"]
    ended = await branches.get(branch.id)
    assert (ended.state, ended.committed_tree, ended.ended_at is not None) == ("committed", branch.head, True)
    assert (await branches.get(workspace.root)).head == branch.head


async def test_commit_merges_when_the_parent_has_moved(scope, branches, workspace):
    one = await fork(branches, workspace.root, README=b"ONE\ntwo\nthree\nfour\nfive\n", src__a=b"x")
    two = await fork(branches, workspace.root, README=b"one\ntwo\nthree\nfour\nFIVE\n", src__b=b"y")
    assert (await branches.commit(one.id)).fast_forward
    result = await branches.commit(two.id)
    assert not result.fast_forward
    assert {c.path for c in result.changes} == {"README", "src/b"}
    assert await content(scope, workspace.root, "README") == b"ONE\ntwo\nthree\nfour\nFIVE\n"
    assert await content(scope, workspace.root, "src/a") == b"x"
    assert await content(scope, workspace.root, "src/b") == b"y"
    assert (await branches.get(two.id)).committed_tree == result.tree == (await branches.get(workspace.root)).head


async def test_a_conflict_writes_nothing_and_leaves_the_branch_open(scope, branches, workspace):
    one = await fork(branches, workspace.root, README=b"1\n", src__a=b"1")
    two = await fork(branches, workspace.root, README=b"2\n", src__a=b"2", fine=b"2")
    await branches.commit(one.id)
    before = await branches.get(workspace.root)
    with pytest.raises(MergeConflict) as conflict:
        await branches.commit(two.id)
    assert conflict.value.details["paths"] == ["README", "src/a"]
    sides = conflict.value.details["conflicts"][0]
    assert (sides["ours"]["hash"], sides["theirs"]["hash"]) == (blob_hash(b"2\n"), blob_hash(b"1\n"))
    assert await branches.get(workspace.root) == before
    assert await branches.get(two.id) == two
    await branches.write_files(two.id, {"more": b"work"})
    assert (await branches.commit(two.id, on_conflict="ours")).fast_forward is False
    assert await content(scope, workspace.root, "README") == b"2\n"
    assert await content(scope, workspace.root, "more") == b"work"


async def test_conflicts_can_be_settled(scope, branches, workspace):
    async def pick(conflict):
        return b"both\n" if conflict.path == "README" else None

    for on_conflict, expected in (("theirs", b"1\n"), (pick, b"both\n")):
        base = (await branches.fork(workspace.root))[0].id
        one, two = await fork(branches, base, README=b"1\n"), await fork(branches, base, README=b"2\n")
        await branches.commit(one.id)
        await branches.commit(two.id, on_conflict=on_conflict)
        assert await content(scope, base, "README") == expected
    branch = await fork(branches, base, README=b"3\n")
    await branches.write_files(base, {"README": b"4\n"})
    with pytest.raises(InvalidInput):
        await branches.commit(branch.id, on_conflict="whatever")


async def test_validate_sees_the_merged_tree_and_may_refuse(scope, branches, workspace):
    one, two = await fork(branches, workspace.root, a=b"1"), await fork(branches, workspace.root, b=b"2")
    await branches.commit(one.id)
    seen: list[list[str]] = []

    async def refuse(tree: str) -> None:
        seen.append([path async for path, _ in scope.trees.walk(tree)])
        raise InvalidInput("tests fail")

    with pytest.raises(InvalidInput, match="tests fail"):
        await branches.commit(two.id, validate=refuse)
    assert {"a", "b"} <= set(seen[0])
    assert (await branches.get(two.id)).state == "open"

    async def slow(tree: str) -> None:
        if len(seen) == 1:  # the parent moves while the tests run
            await branches.write_files(workspace.root, {"c": b"3"})
        seen.append([path async for path, _ in scope.trees.walk(tree)])

    await branches.commit(two.id, validate=slow)
    assert "c" not in seen[1]
    assert {"a", "b", "c"} <= set(seen[2])
    assert {"a", "b", "c"} <= {path async for path, _ in scope.trees.walk((await branches.get(workspace.root)).head)}


async def test_ended_branches_never_change(scope, branches, workspace):
    committed, discarded, superseded = [await fork(branches, workspace.root, **{name: b""}) for name in "abc"]
    await branches.commit(committed.id)
    assert (await branches.discard(discarded.id)).state == "discarded"
    assert (await branches.discard(superseded.id, "superseded")).state == "superseded"
    tree = await scope.trees.put_files(EMPTY_TREE, {"z": b""})
    for branch in (committed, discarded, superseded):
        before = await branches.get(branch.id)
        for change in (
            branches.advance(branch.id, tree, before.head),
            branches.commit(branch.id),
            branches.write_files(branch.id, {"z": b""}),
            branches.fork(branch.id),
        ):
            with pytest.raises(TerminalState) as ended:
                await change
            assert ended.value.details["state"] == before.state
        assert await branches.get(branch.id) == before
    assert await branches.discard(discarded.id) == await branches.get(discarded.id)
    with pytest.raises(TerminalState):
        await branches.discard(committed.id)
    with pytest.raises(TerminalState):
        await branches.discard(discarded.id, "superseded")


async def test_the_root_can_neither_be_committed_nor_discarded(branches, workspace):
    with pytest.raises(InvalidInput, match="root"):
        await branches.commit(workspace.root)
    with pytest.raises(InvalidInput, match="root"):
        await branches.discard(workspace.root)
    with pytest.raises(InvalidInput):
        await branches.discard((await fork(branches, workspace.root)).id, "gone")


async def test_nothing_is_committed_into_an_ended_parent(branches, workspace):
    parent = await fork(branches, workspace.root)
    child = await fork(branches, parent.id, x=b"1")
    await branches.discard(parent.id)
    with pytest.raises(TerminalState) as ended:
        await branches.commit(child.id)
    assert ended.value.details["branch"] == parent.id
    assert (await branches.get(child.id)).state == "open"
    await branches.discard(child.id)


# --- races ----------------------------------------------------------------------------------------------------------


async def test_committers_all_merge_or_conflict(store, other_store, workspace):
    everyone = [s.tenant("default").branches for s in (store, other_store)]
    made = [await fork(everyone[0], workspace.root, **{f"own{n}": b"%d" % n}) for n in range(8)]
    clashing = [await fork(everyone[0], workspace.root, README=b"%d\n" % n) for n in range(3)]
    outcomes = await asyncio.gather(
        *(everyone[n % 2].commit(b.id) for n, b in enumerate([*made, *clashing])), return_exceptions=True
    )
    lost = [o for o in outcomes if isinstance(o, BaseException)]
    assert [type(o) for o in lost] == [MergeConflict, MergeConflict]
    assert sum(result.fast_forward for result in outcomes if result not in lost) == 1
    trees = store.tenant("default").trees
    root = await everyone[1].get(workspace.root)
    paths = {path async for path, _ in trees.walk(root.head)}
    assert {f"own{n}" for n in range(8)} <= paths
    states = [(await everyone[1].get(b.id)).state for b in clashing]
    assert sorted(states) == ["committed", "open", "open"]
    assert {(await everyone[1].get(b.id)).state for b in made} == {"committed"}


async def test_one_branch_committed_from_everywhere_is_committed_once(store, other_store, workspace):
    everyone = [s.tenant("default").branches for s in (store, other_store)]
    for turn in range(5):
        branch = await fork(everyone[0], workspace.root, README=b"%d\n" % turn)
        outcomes = await asyncio.gather(*(everyone[n % 2].commit(branch.id) for n in range(6)), return_exceptions=True)
        done = [o for o in outcomes if not isinstance(o, BaseException)]
        assert len({result.tree for result in done}) == 1
        assert all(isinstance(o, TerminalState) for o in outcomes if isinstance(o, BaseException))
        assert (await everyone[0].get(workspace.root)).head == done[0].tree


async def test_commit_and_advance_race_without_losing_an_acknowledged_advance(store, other_store, workspace):
    mine, theirs = (s.tenant("default").branches for s in (store, other_store))
    trees = store.tenant("default").trees
    for turn in range(12):
        branch = await fork(mine, workspace.root, **{f"t{turn}": b"0"})
        tree = await trees.put_files(branch.head, {f"t{turn}": b"1"})
        committed, advanced = await asyncio.gather(
            mine.commit(branch.id), theirs.advance(branch.id, tree, branch.head), return_exceptions=True
        )
        assert not isinstance(committed, BaseException)
        expected = b"0" if isinstance(advanced, TerminalState) else b"1"
        assert not isinstance(advanced, BaseException) or isinstance(advanced, TerminalState)
        root = await theirs.get(workspace.root)
        assert await trees.read_file(root.head, f"t{turn}") == expected


async def test_commit_and_discard_race_with_one_outcome(store, other_store, workspace):
    mine, theirs = (s.tenant("default").branches for s in (store, other_store))
    trees = store.tenant("default").trees
    for turn in range(12):
        branch = await fork(mine, workspace.root, **{f"t{turn}": b"0"})
        committed, discarded = await asyncio.gather(
            mine.commit(branch.id), theirs.discard(branch.id), return_exceptions=True
        )
        assert isinstance(committed, TerminalState) != isinstance(discarded, TerminalState)
        state = (await theirs.get(branch.id)).state
        assert state == ("discarded" if isinstance(committed, TerminalState) else "committed")
        paths = {path async for path, _ in trees.walk((await mine.get(workspace.root)).head)}
        assert (f"t{turn}" in paths) == (state == "committed")


async def test_child_and_parent_commit_at_once(store, other_store, workspace):
    """The child's work goes up with its parent or the child is told that it came too late."""
    mine, theirs = (s.tenant("default").branches for s in (store, other_store))
    trees = store.tenant("default").trees
    for turn in range(10):
        parent = await fork(mine, workspace.root, **{f"p{turn}": b""})
        child = await fork(mine, parent.id, **{f"c{turn}": b""})
        up, into = await asyncio.gather(mine.commit(parent.id), theirs.commit(child.id), return_exceptions=True)
        assert not isinstance(up, BaseException)
        assert not isinstance(into, BaseException) or isinstance(into, TerminalState)
        paths = {path async for path, _ in trees.walk((await mine.get(workspace.root)).head)}
        assert f"p{turn}" in paths
        assert (f"c{turn}" in paths) == (not isinstance(into, BaseException))


async def test_two_committers_at_once_both_merge_or_one_wins(store, other_store, workspace):
    """Two processes commit two branches into one parent at the same moment, again and again."""
    mine, theirs = (s.tenant("default").branches for s in (store, other_store))
    trees = store.tenant("default").trees
    text = b"1\n2\n3\n4\n5\n6\n7\n"
    for turn in range(24):
        path = f"turn{turn}"
        await mine.write_files(workspace.root, {path: text})
        clash = turn % 2 == 0
        edits = (text.replace(b"1", b"one"), text.replace(b"1", b"uno") if clash else text.replace(b"7", b"seven"))
        first, second = [(await mine.fork(workspace.root, files={path: edit}))[0].id for edit in edits]
        outcomes = await asyncio.gather(mine.commit(first), theirs.commit(second), return_exceptions=True)
        lost = [o for o in outcomes if isinstance(o, BaseException)]
        assert [type(o) for o in lost] == ([MergeConflict] if clash else [])
        states = [(await theirs.get(branch)).state for branch in (first, second)]
        assert sorted(states) == (["committed", "open"] if clash else ["committed", "committed"])
        found = await trees.read_file((await mine.get(workspace.root)).head, path)
        assert found == (edits[states.index("committed")] if clash else b"one\n2\n3\n4\n5\n6\nseven\n")


async def test_a_plan_says_what_the_commit_does(scope, branches, workspace):
    one = await fork(branches, workspace.root, README=b"ONE\ntwo\nthree\nfour\nfive\n")
    plan = await branches.plan(one.id)
    assert (plan.fast_forward, plan.tree, plan.conflicts) == (True, one.head, [])
    await branches.write_files(workspace.root, {"src/a.py": b"a = 2\n"})
    plan = await branches.plan(one.id)
    assert not plan.fast_forward
    assert (await branches.get(one.id), (await branches.get(workspace.root)).head) == (one, plan.theirs)
    result = await branches.commit(one.id, expected=(plan.ours, plan.theirs))
    assert result.tree == plan.tree
    with pytest.raises(TerminalState):
        await branches.plan(one.id)
    with pytest.raises(InvalidInput, match="root"):
        await branches.plan(workspace.root)


async def test_a_plan_that_is_too_old_is_refused(scope, branches, workspace):
    one = await fork(branches, workspace.root, README=b"1\n")
    await branches.write_files(workspace.root, {"README": b"2\n"})
    plan = await branches.plan(one.id)
    assert [(c.path, c.kind) for c in plan.conflicts] == [("README", "content")]
    settled = {"README": {"README": plan.conflicts[0].theirs, "README.ours": plan.conflicts[0].ours}}
    assert not (await branches.plan(one.id, resolutions=settled)).conflicts
    for branch in (workspace.root, one.id):  # either side moves
        await branches.write_files(branch, {"new": branch.encode()})
        with pytest.raises(RevisionConflict):
            await branches.commit(one.id, resolutions=settled, expected=(plan.ours, plan.theirs))
        plan = await branches.plan(one.id)
        assert (await branches.get(one.id)).state == "open"
    await branches.write_files(one.id, {"new": workspace.root.encode()})
    plan = await branches.plan(one.id)
    await branches.commit(one.id, resolutions=settled, expected=(plan.ours, plan.theirs))
    assert await content(scope, workspace.root, "README") == b"2\n"
    assert await content(scope, workspace.root, "README.ours") == b"1\n"


async def test_a_validator_that_breaks_is_told_as_one(branches, workspace):
    one = await fork(branches, workspace.root, README=b"1\n")
    before = await branches.get(workspace.root)

    async def broken(tree: str) -> None:
        raise OSError("no space left")

    with pytest.raises(ValidationFailed, match="no space left") as failed:
        await branches.commit(one.id, validate=broken)
    assert isinstance(failed.value.__cause__, OSError)
    assert await branches.get(workspace.root) == before
    assert await branches.get(one.id) == one
    await branches.commit(one.id)
