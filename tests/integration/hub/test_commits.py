"""Commits over a real bus: conflicts decided and merged files checked at the caller, then compare-and-swap."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from box_agent.agent import Agent
from box_agent.context.commits import Answer, Disputed
from hub.app import Hub
from schemas.branch import Branch
from schemas.errors import (
    BlobNotFound,
    Conflict,
    InvalidInput,
    MergeConflict,
    RevisionConflict,
    TerminalState,
    ValidationFailed,
)
from schemas.subjects import HUB
from schemas.tree import EMPTY_TREE, TreeEntry, blob_hash, name_from_wire
from tests.integration.hub.conftest import Join

LINES = "1\n2\n3\n4\n5\n"


@pytest.fixture
async def planner(hub: Hub, join: Join) -> Agent:
    return await join("planner")


async def root(planner: Agent, **files: str | bytes) -> str:
    """A branch to commit into."""
    top = (await planner.workspaces.create("w", EMPTY_TREE)).root
    return (await forked(planner, top, **files)).id


async def forked(planner: Agent, parent: str, **files: str | bytes | None) -> Branch:
    return (await planner.workspaces.fork(parent, files=files))[0]


async def text(planner: Agent, branch: str, path: str) -> bytes:
    """Of a file at the top."""
    changes = {c.path: c for c in await planner.workspaces.diff(branch)}
    after = changes[path].after
    assert after is not None
    return await planner.blobs.get(after.hash)


async def clashing(planner: Agent) -> tuple[str, str]:
    """A target and a branch whose commit conflicts at ``a`` and merges at ``b``."""
    top = await root(planner, a=LINES, b=LINES)
    mine = await forked(planner, top, a="mine\n", b=LINES.replace("1", "one"))
    other = await forked(planner, top, a="theirs\n", b=LINES.replace("5", "five"))
    await planner.workspaces.commit(other.id)
    return top, mine.id


async def test_a_function_is_given_the_contents_and_decides(planner: Agent) -> None:
    top, mine = await clashing(planner)
    seen: list[Disputed] = []

    def resolve(disputed: Disputed) -> bytes:
        seen.append(disputed)
        return (disputed.ours or b"") + (disputed.theirs or b"")

    result = await planner.workspaces.commit(mine, on_conflict=resolve)
    assert [(d.path, d.conflict.kind, d.base, d.ours, d.theirs) for d in seen] == [
        ("a", "content", LINES.encode(), b"mine\n", b"theirs\n")
    ]
    assert await text(planner, top, "a") == b"mine\ntheirs\n"
    assert await text(planner, top, "b") == b"one\n2\n3\n4\nfive\n"
    assert not result.fast_forward
    with pytest.raises(TerminalState):
        await planner.workspaces.commit(mine, on_conflict=resolve)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("ours", {"a": b"mine\n"}),
        ("theirs", {"a": b"theirs\n"}),
        (None, {}),
        ({"a": None, "elsewhere": b"x"}, {"elsewhere": b"x"}),
    ],
)
async def test_what_a_function_may_answer(planner: Agent, answer: Answer, expected: dict[str, bytes]) -> None:
    top, mine = await clashing(planner)

    async def resolve(disputed: Disputed) -> Answer:
        return answer

    await planner.workspaces.commit(mine, on_conflict=resolve)
    paths = {c.path for c in await planner.workspaces.diff(top)}
    assert paths == {*expected, "b"}
    for path, data in expected.items():
        assert await text(planner, top, path) == data


async def test_a_decision_is_not_used_for_what_was_not_seen(planner: Agent) -> None:
    """The target moves while the function decides: it is asked again, with the new contents."""
    top, mine = await clashing(planner)
    seen: list[bytes | None] = []

    async def resolve(disputed: Disputed) -> bytes:
        seen.append(disputed.theirs)
        if len(seen) == 1:
            await planner.workspaces.commit((await forked(planner, top, a="newer\n")).id)
        return b"decided %d\n" % len(seen)

    await planner.workspaces.commit(mine, on_conflict=resolve)
    assert seen == [b"theirs\n", b"newer\n"]
    assert await text(planner, top, "a") == b"decided 2\n"


async def test_a_function_that_fails_changes_nothing(planner: Agent) -> None:
    top, mine = await clashing(planner)
    before = (await planner.workspaces.branch(top)).head
    with pytest.raises(ZeroDivisionError):
        await planner.workspaces.commit(mine, on_conflict=lambda disputed: bytes(1 // 0))
    with pytest.raises(InvalidInput):
        await planner.workspaces.commit(mine, on_conflict=lambda disputed: "both")
    assert (await planner.workspaces.branch(top)).head == before
    assert (await planner.workspaces.branch(mine)).state == "open"


def holds(**files: str) -> Callable[[Path], bool]:
    def validate(directory: Path) -> bool:
        return {path.name: path.read_text() for path in directory.iterdir()} == files

    return validate


async def test_a_validator_sees_the_merged_files(planner: Agent) -> None:
    top, mine = await clashing(planner)
    before = (await planner.workspaces.branch(top)).head
    with pytest.raises(ValidationFailed, match="returned False"):
        await planner.workspaces.commit(mine, on_conflict="ours", validate=holds(a="theirs\n"))

    async def broken(directory: Path) -> None:
        raise RuntimeError("2 tests failed")

    with pytest.raises(ValidationFailed, match="2 tests failed") as refused:
        await planner.workspaces.commit(mine, on_conflict="ours", validate=broken)
    assert refused.value.details["branch"] == mine
    with pytest.raises(MergeConflict):
        await planner.workspaces.commit(mine, validate=holds())
    assert (await planner.workspaces.branch(top)).head == before
    assert (await planner.workspaces.branch(mine)).state == "open"
    good = holds(a="mine\n", b="one\n2\n3\n4\nfive\n")
    assert (await planner.workspaces.commit(mine, on_conflict="ours", validate=good)).target == top


async def test_a_validator_runs_again_when_the_target_moved_meanwhile(planner: Agent) -> None:
    top = await root(planner, a=LINES)
    mine = await forked(planner, top, a=LINES.replace("1", "one"))
    seen: list[set[str]] = []

    async def validate(directory: Path) -> None:
        seen.append({path.name for path in directory.iterdir()})
        if len(seen) == 1:
            await planner.workspaces.commit((await forked(planner, top, new="x")).id)

    await planner.workspaces.commit(mine.id, validate=validate)
    assert seen == [{"a"}, {"a", "new"}]


async def test_a_target_that_moves_all_the_time_ends_the_commit(planner: Agent) -> None:
    top = await root(planner)
    mine = await forked(planner, top, mine="1")

    async def validate(directory: Path) -> None:
        await planner.workspaces.commit((await forked(planner, top, new=os.urandom(8))).id)

    with pytest.raises(Conflict, match="20 commits"):
        await planner.workspaces.commit(mine.id, validate=validate)
    assert (await planner.workspaces.branch(mine.id)).state == "open"


async def test_the_hub_refuses_a_commit_planned_for_other_heads(planner: Agent) -> None:
    top, mine = await clashing(planner)
    plan = await planner.workspaces.plan(mine)
    assert ([c.path for c in plan.conflicts], plan.tree, plan.target) == (["a"], "", top)
    await planner.workspaces.commit((await forked(planner, top, b="moved")).id)
    with pytest.raises(RevisionConflict):
        await planner.call(HUB, "branch_commit", branch=mine, on_conflict="ours", ours=plan.ours, theirs=plan.theirs)
    with pytest.raises(InvalidInput, match="both or none"):
        await planner.call(HUB, "branch_commit", branch=mine, ours=plan.ours)
    absent = {"a": {"a": TreeEntry(kind="file", hash=blob_hash(b"never stored")).wire()}}
    with pytest.raises(BlobNotFound):
        await planner.call(HUB, "branch_commit", branch=mine, resolutions=absent)
    assert (await planner.workspaces.branch(mine)).state == "open"


async def test_names_that_are_not_utf_8(planner: Agent, tmp_path: Path) -> None:
    """They come from a directory, are told of, conflict, and arrive in a directory, as the bytes they are."""
    name = b"caf\xe9.txt"
    (tmp_path / "src").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "src") + b"/" + name)).write_bytes(b"1\n")
    workspace = await planner.workspaces.import_directory(tmp_path / "src", "odd")
    one, two = await planner.workspaces.fork(workspace.root, names=["one", "two"])
    for branch, data in ((one, b"2\n"), (two, b"3\n")):
        Path(os.fsdecode(os.fsencode(tmp_path / "src") + b"/" + name)).write_bytes(data)
        again = await planner.workspaces.import_directory(tmp_path / "src", "again")
        head = (await planner.workspaces.branch(again.root)).head
        await planner.workspaces.advance(branch.id, head, branch.head)
    assert [os.fsencode(c.path) for c in await planner.workspaces.diff(two.id)] == [name]
    assert len(await planner.workspaces.diff_text(two.id)) == 1
    await planner.workspaces.commit(one.id)
    with pytest.raises(MergeConflict) as conflict:
        await planner.workspaces.commit(two.id)
    assert [os.fsencode(str(name_from_wire(path))) for path in conflict.value.details["paths"]] == [name]
    seen: list[bytes] = []

    def validate(directory: Path) -> None:
        seen.extend(os.listdir(os.fsencode(directory)))  # noqa: PTH208

    await planner.workspaces.commit(two.id, on_conflict=lambda disputed: disputed.theirs, validate=validate)
    assert seen == [name]
