"""The hub's services over a real bus and store, used through the agents' own clients."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from box_agent.agent import Agent
from hub.app import Hub
from hub.config import HubSettings
from schemas.conversation import Turn
from schemas.errors import (
    BlobNotFound,
    BranchNotFound,
    ConversationNotFound,
    IntegrityError,
    InvalidArguments,
    InvalidInput,
    MergeConflict,
    NotFound,
    PayloadTooLarge,
    RevisionConflict,
    SkillNotFound,
)
from schemas.keyvalue import Entry
from schemas.part import Part
from schemas.subjects import HUB
from schemas.tree import TreeEntry, blob_hash, encode_tree
from tests.integration.hub.conftest import Join


@pytest.fixture
async def planner(hub: Hub, join: Join) -> Agent:
    return await join("planner")


# --- the adapter -------------------------------------------------------------------------------------------------


async def test_arguments_are_checked_before_anything_runs(planner: Agent) -> None:
    with pytest.raises(InvalidArguments) as refused:
        await planner.call(HUB, "kv_put", key=5, colour="red")
    assert {tuple(error["loc"]) for error in refused.value.details["errors"]} >= {("value",), ("colour",)}


async def test_skills_that_are_not_there(planner: Agent) -> None:
    with pytest.raises(SkillNotFound):
        await planner.call(HUB, "kv_explode")
    with pytest.raises(SkillNotFound):
        await planner.call(HUB, "_checked")


async def test_positional_arguments_do_as_well(planner: Agent) -> None:
    await planner.call(HUB, "kv_put", "a", {"b": [1, None]})
    assert (await planner.call(HUB, "kv_get", "a"))["value"] == {"b": [1, None]}


async def test_a_tenant_that_is_not_served(hub: Hub) -> None:
    with pytest.raises(NotFound, match="this hub serves"):
        hub.services("elsewhere")


async def test_it_says_what_is_wrong_with_it(hub: Hub) -> None:
    assert set((await hub.readiness()).values()) == {""}


# --- key-values --------------------------------------------------------------------------------------------------


async def test_key_values(planner: Agent) -> None:
    first = await planner.keyvalues.put("plan/a", 1)
    second = await planner.keyvalues.put("plan/a", 2, expected_revision=first.revision)
    with pytest.raises(RevisionConflict) as lost:
        await planner.keyvalues.put("plan/a", 3, expected_revision=first.revision)
    assert lost.value.details["actual"] == second.revision
    await planner.keyvalues.put("plan/b", "x")
    assert [(e.key, e.value) for e in await planner.keyvalues.list("plan/")] == [("plan/a", 2), ("plan/b", "x")]
    assert await planner.keyvalues.delete("plan/a")
    assert await planner.keyvalues.get("plan/a") is None


async def test_a_watch_gives_what_is_there_and_what_comes(planner: Agent) -> None:
    await planner.keyvalues.put("w/1", "there")
    seen: list[Entry] = []
    async with asyncio.timeout(10):
        async for entry in planner.keyvalues.watch("w/"):
            seen.append(entry)
            if len(seen) == 1:
                await planner.keyvalues.put("w/2", "new")
            elif len(seen) == 2:
                await planner.keyvalues.delete("w/1")
            else:
                break
    assert [(e.key, e.value, e.deleted) for e in seen] == [
        ("w/1", "there", False),
        ("w/2", "new", False),
        ("w/1", None, True),
    ]


async def test_values_have_a_limit(hub_settings: Callable[..., HubSettings], join: Join) -> None:
    async with Hub(hub_settings(limits={"value_bytes": 100})):
        agent = await join("planner")
        with pytest.raises(PayloadTooLarge) as refused:
            await agent.keyvalues.put("a", "x" * 101)
        assert refused.value.details["limit_bytes"] == 100
        with pytest.raises(InvalidInput):
            await agent.keyvalues.put("k" * 513, 1)
        with pytest.raises(InvalidInput):
            await agent.keyvalues.list(limit=1_000_000)


# --- blobs -------------------------------------------------------------------------------------------------------


async def test_a_blob_larger_than_a_message_travels_in_pieces(planner: Agent) -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    digest = await planner.blobs.put(data)
    assert digest == blob_hash(data)
    assert await planner.blobs.missing([digest, "0" * 64]) == ["0" * 64]
    assert await planner.blobs.get(digest) == data


async def test_small_blobs_come_many_at_a_time(planner: Agent) -> None:
    small = [os.urandom(size) for size in (0, 1, 200_000, 300_000, 100_000)]
    digests = [await planner.blobs.put(data) for data in small]
    large = await planner.blobs.put(os.urandom(524_289))
    asked = [digests[0], "0" * 64, digests[1], large, digests[2], digests[3], digests[4]]
    assert await planner.blobs.get_batch(asked) == [small[0], None, small[1], None, small[2], small[3]], "no room"
    assert await planner.blobs.get_batch([digests[4]]) == [small[4]]
    with pytest.raises(InvalidInput, match="limit"):
        await planner.call(HUB, "blob_get_batch", hashes=digests, limit=1 << 30)


async def test_a_file_is_sent_on_from_where_it_was_cut_off(planner: Agent, tmp_path: Path) -> None:
    data = os.urandom(1_500_000)
    (tmp_path / "file").write_bytes(data)
    digest = blob_hash(data)
    first = base64.b64encode(data[:700_001]).decode()
    await planner.call(HUB, "blob_put", hash=digest, data=first, offset=0, total=len(data))
    await planner.blobs.put_file(tmp_path / "file", digest)
    assert b"".join([piece async for piece in planner.blobs.pieces(digest)]) == data
    assert b"".join([piece async for piece in planner.blobs.pieces(digest, 1_000_001)]) == data[1_000_001:]
    with pytest.raises(IntegrityError):
        await planner.blobs.put_file(tmp_path / "file", "3" * 64)
    with pytest.raises(InvalidInput):
        await anext(planner.blobs.pieces(digest, len(data) + 1))


async def test_bytes_that_do_not_match_their_hash_are_refused(planner: Agent) -> None:
    with pytest.raises(IntegrityError):
        await planner.call(HUB, "blob_put", hash="1" * 64, data="aGVsbG8=")
    assert await planner.blobs.missing(["1" * 64]) == ["1" * 64]
    with pytest.raises(InvalidInput, match="base64"):
        await planner.call(HUB, "blob_put", hash="1" * 64, data="not base64!")
    with pytest.raises(BlobNotFound):
        await planner.blobs.get("2" * 64)
    with pytest.raises(InvalidInput, match="SHA-256"):
        await planner.call(HUB, "blob_get", hash="../../etc/passwd")


# --- workspaces --------------------------------------------------------------------------------------------------


async def import_tree(agent: Agent, files: dict[str, str]) -> str:
    """A flat directory, stored blob by blob as a client does it."""
    blobs = {blob_hash(text.encode()): text.encode() for text in files.values()}
    entries = {
        name: TreeEntry(kind="file", hash=blob_hash(text.encode()), size=len(text)) for name, text in files.items()
    }
    tree = encode_tree(entries)
    await agent.blobs.put_many({**blobs, blob_hash(tree): tree})
    return blob_hash(tree)


async def test_fork_edit_diff_and_commit(planner: Agent) -> None:
    tree = await import_tree(planner, {"a.py": "x = 1\n", "b.py": "y = 1\n"})
    workspace = await planner.workspaces.create("repair", tree)
    assert workspace.owner == "planner"
    one, two = await planner.workspaces.fork(
        workspace.root, names=["one", "two"], files={"a.py": "x = 2\n", "b.py": None, "c.bin": b"\0\xff"}, group="g"
    )
    assert (one.base, one.head == two.head, one.group) == (tree, True, "g")
    changes = {c.path: c.kind for c in await planner.workspaces.diff(one.id)}
    assert changes == {"a.py": "modified", "b.py": "deleted", "c.bin": "added"}
    texts = {row["path"]: row["text"] for row in await planner.workspaces.diff_text(one.id)}
    assert "-x = 1\n+x = 2\n" in texts["a.py"]
    result = await planner.workspaces.commit(one.id)
    assert result.fast_forward
    assert (await planner.workspaces.branch(workspace.root)).head == result.tree == one.head
    discarded = await planner.workspaces.discard(two.id, state="superseded")
    assert discarded.state == "superseded"
    newest = await planner.workspaces.branches(workspace.id)
    assert {branch.id for branch in newest[:2]} == {one.id, two.id}
    assert newest[-1].id == workspace.root


async def test_both_sides_changed_the_same_line(planner: Agent) -> None:
    workspace = await planner.workspaces.create("w", await import_tree(planner, {"a": "1\n"}))
    (one,) = await planner.workspaces.fork(workspace.root, names=["one"], files={"a": "2\n"})
    (two,) = await planner.workspaces.fork(workspace.root, names=["two"], files={"a": "3\n"})
    await planner.workspaces.commit(one.id)
    with pytest.raises(MergeConflict) as conflict:
        await planner.workspaces.commit(two.id)
    assert conflict.value.details["paths"] == ["a"]
    assert not (await planner.workspaces.commit(two.id, on_conflict="ours")).fast_forward


async def test_a_branch_is_advanced_only_from_where_it_is(planner: Agent) -> None:
    workspace = await planner.workspaces.create("w", await import_tree(planner, {"a": "1\n"}))
    (branch,) = await planner.workspaces.fork(workspace.root, names=["one"])
    other = await import_tree(planner, {"a": "2\n"})
    moved = await planner.workspaces.advance(branch.id, other, branch.head)
    assert moved.head == other
    with pytest.raises(RevisionConflict):
        await planner.workspaces.advance(branch.id, branch.head, "3" * 64)


async def test_what_cannot_be_a_workspace(planner: Agent) -> None:
    with pytest.raises(BlobNotFound):
        await planner.workspaces.create("w", "4" * 64)
    with pytest.raises(BranchNotFound):
        await planner.workspaces.branch("branch-none")
    workspace = await planner.workspaces.create("w")
    for path in ("../up", "/abs", "a//b", "a/\0"):
        with pytest.raises(InvalidInput):
            await planner.workspaces.fork(workspace.root, names=["x"], files={path: "text"})
    with pytest.raises(InvalidInput, match="give one of"):
        await planner.call(HUB, "branch_fork", branch=workspace.root, names=["x"], files={"a": {}})


# --- conversations -----------------------------------------------------------------------------------------------


async def test_conversations(planner: Agent) -> None:
    conversation = await planner.conversations.create("who tried what")
    await planner.conversations.say(conversation.id, "first")
    forked = await planner.conversations.fork(conversation.id)
    await planner.conversations.say(conversation.id, "second")
    await planner.conversations.say(forked.id, "other")
    turns = await planner.conversations.turns(conversation.id)
    assert [(turn.text, turn.author) for turn in turns] == [("first", "planner"), ("second", "planner")]
    assert [turn.text for turn in await planner.conversations.turns(forked.id)] == ["first", "other"]
    head = (await planner.conversations.get(conversation.id)).head
    with pytest.raises(RevisionConflict):
        await planner.conversations.append(
            conversation.id, [Turn(parts=[Part(text="late")])], expected_head="turn-other"
        )
    assert (await planner.conversations.get(conversation.id)).head == head
    prompt = await planner.conversations.prompt(conversation.id, 1000)
    assert [message["content"] for message in prompt["messages"]] == ["first", "second"]
    with pytest.raises(ConversationNotFound):
        await planner.conversations.get("conv-none")


async def test_a_repeated_append_adds_nothing(planner: Agent) -> None:
    conversation = await planner.conversations.create()
    turn = Turn(parts=[Part(text="once")])
    for _ in range(2):
        await planner.conversations.append(conversation.id, [turn])
    assert len(await planner.conversations.turns(conversation.id)) == 1
