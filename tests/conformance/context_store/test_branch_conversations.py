"""The conversation of a branch: forked by pointer, seen there only, one line of turns after the commit."""

from __future__ import annotations

import asyncio

import pytest

from context_store.store import Scope
from schemas.branch import Branch, Workspace
from schemas.conversation import ToolCall, Turn
from schemas.errors import Conflict, ConversationNotFound, MergeConflict, TerminalState
from schemas.part import Part
from schemas.tree import EMPTY_TREE


def turn(text: str, author: str = "", **more: object) -> Turn:
    return Turn(author=author, parts=[Part(text=text)], **more)


def of(branch: Branch | str) -> str:
    """The id of a branch's conversation."""
    return f"@{branch if isinstance(branch, str) else branch.id}"


async def say(scope: Scope, branch: Branch | str, *texts: str, author: str = "") -> None:
    await scope.conversations.append(of(branch), [turn(text, author) for text in texts])


async def said(scope: Scope, id: str) -> list[str]:
    return [found.text for found in await scope.conversations.turns(id)]


def joined(name: str, count: int, authors: str) -> str:
    turns = f"{count} turn{'s' if count > 1 else ''}" + (f" by {authors}" if authors else "")
    return f"(joined from branch {name}, said without knowing the above: {turns})"


@pytest.fixture
async def talk(scope: Scope) -> str:
    made = await scope.conversations.create("coffee")
    await scope.conversations.append(made.id, [turn("which coffee?", "planner")])
    return made.id


@pytest.fixture
async def workspace(scope: Scope, talk: str) -> Workspace:
    return await scope.workspaces.create("shop", conversation=talk)


async def fork(scope: Scope, parent: str, *names: str) -> list[Branch]:
    return await scope.branches.fork(parent, names)


async def test_three_on_three_branches_never_see_each_other_and_end_in_one_line(scope, other_store, workspace, talk):
    """Each from the process it runs in; what was said meanwhile in the parent stands before all of it."""
    there = other_store.tenant("default")
    forked = await fork(scope, workspace.root, "a", "b", "c")
    for branch, place in zip(forked, (scope, there, scope), strict=True):
        await say(place, branch, f"{branch.name} begins", f"{branch.name} ends", author=branch.name)
    await scope.conversations.append(talk, [turn("hurry", "planner")])
    for branch in forked:
        assert await said(there, of(branch)) == ["which coffee?", f"{branch.name} begins", f"{branch.name} ends"]
    assert await said(there, talk) == await said(scope, of(workspace.root)) == ["which coffee?", "hurry"]
    for branch, place in zip(forked, (scope, there, scope), strict=True):
        assert (await place.branches.commit(branch.id)).turns == 2
    line = ["which coffee?", "hurry"]
    for name in "abc":
        line += [joined(name, 2, name), f"{name} begins", f"{name} ends"]
    turns = await there.conversations.turns(talk)
    assert [t.text for t in turns] == line
    assert [t.depth for t in turns] == list(range(1, len(line) + 1))
    assert [t.parents[:1] for t in turns] == [[], *([t.id] for t in turns[:-1])]
    heads = [(await scope.branches.get(b.id)).shared.turn for b in forked]
    assert [t.parents[1] for t in turns if len(t.parents) == 2] == heads
    prompt = await scope.conversations.prompt(talk, 10_000)
    assert [m["content"] for m in prompt.messages] == line
    assert [m.get("name") for m in prompt.messages][3:5] == ["a", "a"]


async def test_a_commit_without_turns_meanwhile_adds_nothing_and_stores_nothing_again(scope, workspace, talk):
    [branch] = await fork(scope, workspace.root, "try")
    await say(scope, branch, "one", "two")
    written = [t.id for t in await scope.conversations.turns(of(branch))]
    await scope.branches.commit(branch.id)
    assert [t.id for t in await scope.conversations.turns(talk)] == written
    root = await scope.branches.get(workspace.root)
    assert [line for line, _ in root.shared.past] == [talk, of(branch)]
    await say(scope, workspace.root, "three")
    assert await said(scope, talk) == ["which coffee?", "one", "two", "three"]
    assert await said(scope, of(branch)) == ["which coffee?", "one", "two"]


async def test_discarded_turns_are_nowhere(scope, workspace, talk):
    [branch] = await fork(scope, workspace.root, "try")
    await say(scope, branch, "a needle")
    await scope.branches.discard(branch.id)
    assert await said(scope, talk) == ["which coffee?"]
    assert await scope.conversations.search("needle", conversation=talk) == []
    with pytest.raises(TerminalState):
        await say(scope, branch, "more")


async def test_a_fork_of_a_branch_has_its_turns_and_gives_its_own_back(scope, workspace, talk):
    [outer] = await fork(scope, workspace.root, "outer")
    await say(scope, outer, "before")
    [inner] = await fork(scope, outer.id, "inner")
    await say(scope, outer, "after")
    await say(scope, inner, "inside")
    assert await said(scope, of(inner)) == ["which coffee?", "before", "inside"]
    await scope.branches.commit(inner.id)
    own = ["before", "after", joined("inner", 1, ""), "inside"]
    assert await said(scope, of(outer)) == ["which coffee?", *own]
    assert await said(scope, talk) == ["which coffee?"]
    await say(scope, workspace.root, "meanwhile")
    assert (await scope.branches.commit(outer.id)).turns == 4
    assert await said(scope, talk) == ["which coffee?", "meanwhile", joined("outer", 4, ""), *own]
    join = (await scope.conversations.turns(talk))[5]
    assert join.parents == [
        (await scope.conversations.turns(talk))[4].id,
        (await scope.branches.get(inner.id)).shared.turn,
    ]


async def test_files_that_conflict_keep_the_turns_back(scope, talk):
    tree = await scope.trees.put_files(EMPTY_TREE, {"a": b"1"})
    workspace = await scope.workspaces.create("w", tree, conversation=talk)
    [branch] = await fork(scope, workspace.root, "try")
    await scope.branches.write_files(branch.id, {"a": b"2"})
    await say(scope, branch, "two")
    await scope.branches.write_files(workspace.root, {"a": b"3"})
    with pytest.raises(MergeConflict):
        await scope.branches.commit(branch.id)
    assert await said(scope, talk) == ["which coffee?"]
    await say(scope, branch, "still open")
    assert (await scope.branches.commit(branch.id, on_conflict="ours")).turns == 2
    assert await said(scope, talk) == ["which coffee?", "two", "still open"]


async def test_tool_calls_of_branches_with_equal_ids_stay_with_their_answers(scope, workspace, talk):
    forked = await fork(scope, workspace.root, "a", "b")
    for branch in forked:
        call = turn("", branch.name, role="assistant", tool_calls=[ToolCall(call_id="call_1", name="brew")])
        answer = turn(f"brewed by {branch.name}", branch.name, role="tool", tool_call_id="call_1")
        await scope.conversations.append(of(branch), [call, answer])
        await scope.branches.commit(branch.id)
    messages = (await scope.conversations.prompt(talk, 10_000)).messages
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "user", "assistant", "tool"]
    assert [m["content"] for m in messages if m["role"] == "tool"] == ["brewed by a", "brewed by b"]
    pinned = (await scope.conversations.prompt(talk, 10_000, "anthropic")).messages
    assert [m["role"] for m in pinned] == ["user", "assistant", "user", "assistant", "user"]


async def test_many_commits_leave_few_pieces_and_every_turn(scope, workspace, talk):
    """Otherwise the record of the root would grow with every commit, until it is too large for any more."""
    for n in range(20):
        [branch] = await fork(scope, workspace.root, f"t{n}")
        await say(scope, branch, str(n))
        await scope.branches.commit(branch.id)
    root = await scope.branches.get(workspace.root)
    assert len(root.shared.past) <= 17
    assert await said(scope, talk) == ["which coffee?", *map(str, range(20))]
    assert await said(scope, of(branch)) == await said(scope, talk)


async def test_turns_by_id_by_words_and_pinned_survive_a_join(scope, workspace, talk):
    [branch] = await fork(scope, workspace.root, "try")
    pinned = turn("a needle", "b", pinned=True)
    await scope.conversations.append(of(branch), [pinned])
    await scope.conversations.append(talk, [turn("meanwhile")])
    await scope.branches.commit(branch.id)
    assert (await scope.conversations.turn(talk, pinned.id)).depth == 4
    assert [hit.turn.id for hit in await scope.conversations.search("needle", conversation=talk)] == [pinned.id]
    assert pinned.id in (await scope.conversations.prompt(talk, 40)).turns
    again = await scope.conversations.append(talk, [pinned])  # whoever is not sure that it was heard may say it again
    assert again.turns == 4


async def test_appends_race_with_commits_and_nothing_acknowledged_is_lost(store, other_store, workspace, talk):
    mine, theirs = (s.tenant("default") for s in (store, other_store))
    for n in range(6):
        [branch] = await fork(mine, workspace.root, f"t{n}")
        await say(mine, branch, f"first {n}")
        outcomes = await asyncio.gather(
            mine.branches.commit(branch.id),
            say(theirs, branch, f"late {n}"),
            theirs.conversations.append(talk, [turn(f"parent {n}")]),
            return_exceptions=True,
        )
        assert not isinstance(outcomes[0], BaseException)
        assert not isinstance(outcomes[2], BaseException)
        texts = await said(theirs, talk)
        assert [texts.count(t) for t in (f"first {n}", f"parent {n}")] == [1, 1]
        if outcomes[1] is None:
            assert texts.count(f"late {n}") == 1
        else:
            assert isinstance(outcomes[1], TerminalState)
            assert f"late {n}" not in texts


async def test_two_commits_at_once_give_both_blocks_whole(store, other_store, workspace, talk):
    mine, theirs = (s.tenant("default") for s in (store, other_store))
    for n in range(5):
        forked = await fork(mine, workspace.root, f"a{n}", f"b{n}")
        for branch in forked:
            await say(mine, branch, *(f"{branch.name} {i}" for i in range(3)))
        await asyncio.gather(*(s.branches.commit(b.id) for s, b in zip((mine, theirs), forked, strict=True)))
        texts = await said(mine, talk)
        for branch in forked:
            start = texts.index(f"{branch.name} 0")
            assert texts[start : start + 3] == [f"{branch.name} {i}" for i in range(3)]
    assert len(texts) == len(set(texts)) == 1 + 5 * 7


async def test_a_conversation_is_that_of_one_workspace(scope, workspace, talk):
    with pytest.raises(Conflict):
        await scope.workspaces.create("second", conversation=talk)
    with pytest.raises(ConversationNotFound):
        await scope.workspaces.create("third", conversation="conv-none")
    with pytest.raises(ConversationNotFound):
        await scope.conversations.get("@branch-none")
    listed = {c.id: c.turns for c in await scope.conversations.list()}
    assert listed == {of(workspace.root): 1}


async def test_what_is_said_while_it_becomes_a_workspaces_is_kept(scope, other_store, talk):
    other = other_store.tenant("default")
    said_now = [other.conversations.append(talk, [turn(f"t{n}")]) for n in range(10)]
    made, *_ = await asyncio.gather(scope.workspaces.create("w", conversation=talk), *said_now)
    assert sorted(await said(scope, of(made.root))) == sorted(["which coffee?", *(f"t{n}" for n in range(10))])
    assert await said(other, talk) == await said(scope, of(made.root))
