"""Key-values of a branch: seen there only, merged key by key, in the same commit as the files."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from context_store.branch_keyvalues import BranchKeyValues
from context_store.store import Scope
from schemas.branch import Branch, Workspace
from schemas.errors import (
    BranchNotFound,
    InvalidInput,
    MergeConflict,
    PayloadTooLarge,
    RevisionConflict,
    TerminalState,
)
from schemas.tree import EMPTY_TREE, Conflict, key_path


@pytest.fixture
async def workspace(scope: Scope) -> Workspace:
    made = await scope.workspaces.create("shop", await scope.trees.put_files(EMPTY_TREE, {"a": b"1"}))
    await scope.keyvalues_on(made.root).put("milk", "cow")
    return made


async def fork(scope: Scope, parent: str, *names: str) -> list[Branch]:
    return await scope.branches.fork(parent, names or ("try",))


async def values(keyvalues: BranchKeyValues) -> dict[str, object]:
    return {entry.key: entry.value for entry in await keyvalues.list()}


async def test_a_write_is_seen_on_its_branch_and_in_forks_made_later(scope, other_store, workspace):
    other = other_store.tenant("default")
    [branch, sibling] = await fork(scope, workspace.root, "a", "b")
    entry = await scope.keyvalues_on(branch.id).put("sugar", {"lumps": 2})
    assert await other.keyvalues_on(branch.id).get("sugar") == entry
    [inner] = await fork(scope, branch.id)
    await scope.keyvalues_on(branch.id).put("sugar", None)
    assert await values(other.keyvalues_on(inner.id)) == {"milk": "cow", "sugar": {"lumps": 2}}
    for elsewhere in (sibling.id, workspace.root):
        assert await values(other.keyvalues_on(elsewhere)) == {"milk": "cow"}
    assert await other.keyvalues.list() == []
    await scope.branches.discard(branch.id)
    with pytest.raises(TerminalState):
        await other.keyvalues_on(branch.id).put("sugar", 3)
    with pytest.raises(BranchNotFound):
        await other.keyvalues_on("branch-none").get("sugar")


async def test_a_commit_brings_changes_and_deletions_and_keeps_those_of_others(scope, workspace):
    root = scope.keyvalues_on(workspace.root)
    await root.put("old", 1)
    [first, second] = await fork(scope, workspace.root, "a", "b")
    await scope.keyvalues_on(first.id).put("tea", "green")
    await scope.keyvalues_on(first.id).delete("old")
    await scope.keyvalues_on(second.id).put("cup", [1])
    await scope.keyvalues_on(second.id).put("tea", "green")
    await root.put("milk", "oat")
    told = [
        (c.key, c.base and c.base.value, c.ours and c.ours.value) for c in await scope.keyvalues_on(first.id).changes()
    ]
    assert told == [("old", 1, None), ("tea", None, "green")]
    assert (await scope.branches.commit(first.id)).keys == ["old", "tea"]
    assert (await scope.branches.commit(second.id)).keys == ["cup"]
    assert await values(root) == {"milk": "oat", "tea": "green", "cup": [1]}


async def test_a_value_written_again_is_no_change(scope, workspace):
    root = scope.keyvalues_on(workspace.root)
    first, second = await fork(scope, workspace.root, "a", "b")
    await scope.keyvalues_on(first.id).put("milk", "cow")
    assert await scope.keyvalues_on(first.id).changes() == []
    await scope.keyvalues_on(second.id).put("milk", "soy")
    await root.put("milk", "oat")
    assert (await scope.branches.commit(first.id)).keys == []
    await root.put("milk", "cow")
    assert (await scope.branches.commit(second.id)).keys == ["milk"]
    assert await values(root) == {"milk": "soy"}


async def test_no_commit_gives_a_value_a_revision_that_another_had(scope, workspace):
    """Or a compare-and-set by somebody who read the other one would go through."""
    root = scope.keyvalues_on(workspace.root)
    [branch] = await fork(scope, workspace.root)
    mine = await scope.keyvalues_on(branch.id).put("tea", "ours")
    theirs = await root.put("tea", "theirs")
    assert mine.revision == theirs.revision
    await root.delete("tea")
    await scope.branches.commit(branch.id)
    with pytest.raises(RevisionConflict):
        await root.put("tea", "stale", expected_revision=theirs.revision)
    there = await root.get("tea")
    assert there is not None
    assert (there.value, there.revision > theirs.revision) == ("ours", True)
    assert (await root.put("tea", "fresh", expected_revision=there.revision)).revision > there.revision


def tea_is_ours(conflict: Conflict) -> Literal["ours", "theirs"]:
    return "ours" if conflict.path == key_path("tea") else "theirs"


def both(conflict: Conflict) -> bytes:
    return b'["both"]'


def nothing(conflict: Conflict) -> None:
    """Whatever it was, it shall be gone."""


async def clashing(scope: Scope, workspace: Workspace) -> Branch:
    """Files and two keys that conflict, one key that does not."""
    [branch] = await fork(scope, workspace.root)
    mine, theirs = scope.keyvalues_on(branch.id), scope.keyvalues_on(workspace.root)
    await mine.put("milk", "soy")
    await mine.put("tea", "black")
    await mine.put("own", True)
    await theirs.delete("milk")
    await theirs.put("tea", {"kind": "white"})
    await scope.branches.write_files(branch.id, {"a": b"2"})
    await scope.branches.write_files(workspace.root, {"a": b"3"})
    return branch


async def test_conflicts_are_told_with_those_of_files_and_nothing_is_written(scope, workspace):
    branch = await clashing(scope, workspace)
    before = await scope.branches.get(workspace.root)
    with pytest.raises(MergeConflict) as refused:
        await scope.branches.commit(branch.id)
    assert refused.value.details["paths"] == ["a", "/keys/milk", "/keys/tea"]
    assert await scope.branches.get(workspace.root) == before
    plan = await scope.branches.plan(branch.id)
    assert [c.path for c in plan.conflicts] == ["a", "/keys/milk", "/keys/tea"]
    told = {c.path: c for c in plan.conflicts}
    read = scope.trees.blobs.get
    tea, milk = told[key_path("tea")], told[key_path("milk")]
    assert (tea.kind, tea.base) == ("key_value", None)
    assert [await read(side.hash) for side in (tea.ours, tea.theirs) if side] == [b'"black"', b'{"kind": "white"}']
    assert (milk.theirs, await read(milk.base.hash if milk.base else "")) == (None, b'"cow"')
    await scope.keyvalues_on(branch.id).put("tea", "still open")


@pytest.mark.parametrize(
    ("on_conflict", "left"),
    [
        ("ours", {"milk": "soy", "tea": "black", "own": True}),
        ("theirs", {"tea": {"kind": "white"}, "own": True}),
        (tea_is_ours, {"tea": "black", "own": True}),
        (both, {"milk": ["both"], "tea": ["both"], "own": True}),
        (nothing, {"own": True}),
    ],
)
async def test_conflicts_are_settled_like_those_of_files(scope, workspace, on_conflict, left):
    branch = await clashing(scope, workspace)
    await scope.branches.commit(branch.id, on_conflict=on_conflict)
    assert await values(scope.keyvalues_on(workspace.root)) == left


async def test_answers_to_a_plan_hold_for_the_key_values_it_was_made_for(scope, workspace):
    branch = await clashing(scope, workspace)
    plan = await scope.branches.plan(branch.id, on_conflict="theirs")
    heads = (plan.ours, plan.theirs, plan.our_keys, plan.their_keys)
    await scope.keyvalues_on(workspace.root).put("tea", "moved")
    with pytest.raises(RevisionConflict):
        await scope.branches.commit(branch.id, on_conflict="theirs", expected=heads)
    plan = await scope.branches.plan(branch.id)
    answers = {c.path: {c.path: c.ours} for c in plan.conflicts}
    heads = (plan.ours, plan.theirs, plan.our_keys, plan.their_keys)
    result = await scope.branches.commit(branch.id, resolutions=answers, expected=heads)
    assert result.keys == ["milk", "own", "tea"]
    assert await values(scope.keyvalues_on(workspace.root)) == {"milk": "soy", "tea": "black", "own": True}


@pytest.mark.parametrize("answer", [b"no json", b"\xff", "neither", {"elsewhere": b"1"}])
async def test_an_answer_that_is_no_value_is_refused(scope, workspace, answer):
    branch = await clashing(scope, workspace)

    def answered(conflict: Conflict) -> object:
        return answer if conflict.kind == "key_value" else "ours"

    with pytest.raises(InvalidInput):
        await scope.branches.commit(branch.id, on_conflict=answered)
    assert (await scope.branches.get(branch.id)).state == "open"


async def test_compare_and_set_expiry_and_odd_keys(scope, workspace):
    keyvalues = scope.keyvalues_on(workspace.root)
    odd = ["..", "a/b", "é", "x" * 900, "with space", "%2e", "\n"]
    for number, key in enumerate(odd):
        assert (await keyvalues.put(key, number, expected_revision=0)).revision == number + 2
    assert await values(keyvalues) == {"milk": "cow", **{key: n for n, key in enumerate(odd)}}
    assert [e.key for e in await keyvalues.list()] == sorted([*odd, "milk"])
    assert [e.key for e in await keyvalues.list("x", after="a")] == ["x" * 900]
    assert [e.key for e in await keyvalues.list(limit=2)] == sorted([*odd, "milk"])[:2]
    assert await keyvalues.delete("..") is True
    assert await keyvalues.delete("..") is False
    with pytest.raises(RevisionConflict) as moved:
        await keyvalues.put("é", 1, expected_revision=1)
    assert moved.value.details["actual"] == 4
    for bad in ("", "a\0b", "x" * 1025):
        with pytest.raises(InvalidInput):
            await keyvalues.put(bad, 1)
    with pytest.raises(PayloadTooLarge):
        await keyvalues.put("large", "x" * 2**20)
    with pytest.raises(InvalidInput):
        await keyvalues.put("a", 1, ttl_s=0)


async def test_a_watch_sees_writes_commits_deletions_and_expiry(scope, other_store, workspace):
    [branch] = await fork(scope, workspace.root)
    root = other_store.tenant("default").keyvalues_on(workspace.root)
    async with asyncio.timeout(10), scope.keyvalues_on(workspace.root).watch() as watch:
        assert (await anext(watch)).key == "milk"
        await scope.keyvalues_on(branch.id).put("tea", "green")
        await scope.branches.commit(branch.id)
        assert ((seen := await anext(watch)).key, seen.value) == ("tea", "green")
        await root.delete("milk")
        assert ((seen := await anext(watch)).key, seen.deleted) == ("milk", True)
        await scope.keyvalues_on(workspace.root).put("soon", 1, ttl_s=0.3)
        assert ((seen := await anext(watch)).key, seen.deleted) == ("soon", False)
        assert ((seen := await anext(watch)).key, seen.deleted) == ("soon", True)


async def increments(keyvalues: BranchKeyValues, times: int) -> None:
    done = 0
    while done < times:
        entry = await keyvalues.get("n")
        try:
            await keyvalues.put(
                "n", (entry.value if entry else 0) + 1, expected_revision=entry.revision if entry else 0
            )
        except RevisionConflict:
            continue
        done += 1


async def test_writers_of_two_processes_lose_no_increment(store, other_store, workspace):
    places = [s.tenant("default") for s in (store, other_store)]
    await asyncio.gather(*(increments(s.keyvalues_on(workspace.root), 10) for s in places))
    entry = await places[0].keyvalues_on(workspace.root).get("n")
    assert entry is not None
    assert entry.value == 20


async def test_of_two_commits_at_once_with_other_values_one_wins(store, other_store, workspace):
    mine, theirs = (s.tenant("default") for s in (store, other_store))
    for n in range(6):
        forked = await fork(mine, workspace.root, "a", "b")
        for branch in forked:
            await mine.keyvalues_on(branch.id).put("same", f"{branch.name}{n}")
            await mine.keyvalues_on(branch.id).put(f"own {branch.name}{n}", n)
        outcomes = await asyncio.gather(
            *(s.branches.commit(b.id) for s, b in zip((mine, theirs), forked, strict=True)), return_exceptions=True
        )
        won = [b for b, o in zip(forked, outcomes, strict=True) if not isinstance(o, BaseException)]
        assert sorted(type(o).__name__ for o in outcomes) == ["CommitResult", "MergeConflict"]
        there = await values(theirs.keyvalues_on(workspace.root))
        assert there["same"] == f"{won[0].name}{n}"
        assert [name for name in ("a", "b") if f"own {name}{n}" in there] == [won[0].name]


async def test_writes_race_with_a_commit_and_none_is_lost(store, other_store, workspace):
    mine, theirs = (s.tenant("default") for s in (store, other_store))
    for n in range(8):
        [branch] = await fork(mine, workspace.root)
        outcomes = await asyncio.gather(
            mine.branches.commit(branch.id),
            theirs.keyvalues_on(branch.id).put(f"late{n}", n),
            theirs.keyvalues_on(workspace.root).put(f"parent{n}", n),
            return_exceptions=True,
        )
        assert not isinstance(outcomes[0], BaseException)
        there = await values(mine.keyvalues_on(workspace.root))
        assert f"parent{n}" in there
        assert (f"late{n}" in there) == (not isinstance(outcomes[1], TerminalState))
