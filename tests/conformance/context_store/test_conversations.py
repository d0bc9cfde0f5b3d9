"""Conversations: append-only, forkable, and nobody's turn is lost."""

from __future__ import annotations

import asyncio

import pytest

from context_store.conversations import Conversations
from schemas.conversation import Turn
from schemas.errors import (
    AlreadyExists,
    Conflict,
    ConversationNotFound,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RevisionConflict,
)
from schemas.part import Part


def say(text: str, **fields) -> Turn:
    return Turn(parts=[Part(text=text)], **fields)


def texts(turns) -> list[str]:
    return [turn.text for turn in turns]


@pytest.fixture
def conversations(scope) -> Conversations:
    return scope.conversations


@pytest.fixture
async def talk(conversations) -> str:
    """A conversation with the turns t1 to t6, appended in pieces of different length."""
    id = (await conversations.create("talk", id="talk")).id
    for piece in (["t1"], ["t2", "t3", "t4"], ["t5"], ["t6"]):
        await conversations.append(id, [say(t, id=t) for t in piece])
    return id


async def test_a_conversation_from_nothing(conversations):
    created = await conversations.create("title", metadata={"a.b": 1})
    assert (created.title, created.head, created.turns, created.metadata) == ("title", "", 0, {"a.b": 1})
    assert await conversations.get(created.id) == created
    assert await conversations.turns(created.id) == []
    with pytest.raises(ConversationNotFound):
        await conversations.get("conv-of-nobody")
    with pytest.raises(AlreadyExists):
        await conversations.create(id=created.id)


async def test_turns_get_their_place(conversations):
    id = (await conversations.create()).id
    first, second = say("a", author="x", metadata={"k": [1]}), say("b", role="assistant", pinned=True)
    after = await conversations.append(id, [first, second])
    third = say("c", parents=["elsewhere", second.id])
    after = await conversations.append(id, [third])
    assert (after.head, after.turns) == (third.id, 3)
    stored = await conversations.turns(id)
    assert [t.depth for t in stored] == [1, 2, 3]
    assert [t.parents for t in stored] == [[], [first.id], [second.id, "elsewhere"]]
    assert all(t.created_at > 0 for t in stored)
    assert (stored[0].author, stored[0].metadata, stored[1].role, stored[1].pinned) == (
        "x",
        {"k": [1]},
        "assistant",
        True,
    )
    assert await conversations.turn(id, second.id) == stored[1]


@pytest.mark.parametrize(
    ("limit", "before", "expected"),
    [
        (100, None, ["t1", "t2", "t3", "t4", "t5", "t6"]),
        (2, None, ["t5", "t6"]),
        (4, None, ["t3", "t4", "t5", "t6"]),
        (2, "t4", ["t2", "t3"]),
        (100, "t3", ["t1", "t2"]),
        (5, "t1", []),
    ],
)
async def test_turns_in_pages(conversations, talk, limit, before, expected):
    assert texts(await conversations.turns(talk, limit=limit, before=before)) == expected


async def test_append_expects_a_head(conversations, talk):
    with pytest.raises(RevisionConflict) as conflict:
        await conversations.append(talk, [say("x")], expected_head="t5")
    assert (conflict.value.details["expected"], conflict.value.details["actual"]) == ("t5", "t6")
    await conversations.append(talk, [say("x", id="x")], expected_head="t6")
    assert (await conversations.get(talk)).head == "x"
    empty = (await conversations.create()).id
    await conversations.append(empty, [say("y")], expected_head="")


async def test_a_repeated_append_changes_nothing(conversations, talk):
    before = await conversations.get(talk)
    again = [say(t, id=t) for t in ("t2", "t3", "t4")]
    assert await conversations.append(talk, again) == before
    assert await conversations.append(talk, again, expected_head="t1") == before
    after = await conversations.append(talk, [say("t6", id="t6"), say("t7", id="t7")])
    assert after.turns == 7
    assert texts(await conversations.turns(talk, limit=3)) == ["t5", "t6", "t7"]
    with pytest.raises(IdempotencyConflict):
        await conversations.append(talk, [say("other words", id="t3")])


async def test_a_fork_shares_the_past_and_not_the_future(conversations, talk):
    fork = await conversations.fork(talk, at="t3", title="what if")
    assert (fork.head, fork.turns, fork.forked_from, fork.title) == ("t3", 3, talk, "what if")
    await conversations.append(fork.id, [say("f4", id="f4"), say("f5", id="f5")])
    await conversations.append(talk, [say("t7", id="t7")])
    deeper = await conversations.fork(fork.id, at="f4")
    await conversations.append(deeper.id, [say("d5", id="d5")])
    early = await conversations.fork(deeper.id, at="t2")
    assert texts(await conversations.turns(talk)) == ["t1", "t2", "t3", "t4", "t5", "t6", "t7"]
    assert texts(await conversations.turns(fork.id)) == ["t1", "t2", "t3", "f4", "f5"]
    assert texts(await conversations.turns(deeper.id)) == ["t1", "t2", "t3", "f4", "d5"]
    assert texts(await conversations.turns(deeper.id, limit=3)) == ["t3", "f4", "d5"]
    assert texts(await conversations.turns(deeper.id, before="f4")) == ["t1", "t2", "t3"]
    assert texts(await conversations.turns(early.id)) == ["t1", "t2"]
    for id, turn in ((fork.id, "t4"), (deeper.id, "f5"), (early.id, "t3"), (talk, "f4")):
        with pytest.raises(NotFound):
            await conversations.turn(id, turn)
    with pytest.raises(NotFound):
        await conversations.fork(fork.id, at="t5")


async def test_the_same_turn_may_be_said_in_two_forks(conversations, talk):
    one, two = [await conversations.fork(talk) for _ in range(2)]
    for fork in (one, two):
        await conversations.append(fork.id, [say("same", id="same")])
        assert texts(await conversations.turns(fork.id, limit=1)) == ["same"]


async def test_a_winner_is_adopted(conversations, talk):
    fork = await conversations.fork(talk)
    await conversations.append(fork.id, [say("win", id="win")])
    adopted = await conversations.adopt(talk, fork.id)
    assert (adopted.id, adopted.head, adopted.turns) == (talk, "win", 7)
    assert (await conversations.adopt(talk, fork.id)).head == "win"
    await conversations.append(talk, [say("t8", id="t8")])
    await conversations.append(fork.id, [say("late", id="late")])
    assert texts(await conversations.turns(talk, limit=3)) == ["t6", "win", "t8"]
    assert texts(await conversations.turns(fork.id, limit=3)) == ["t6", "win", "late"]
    with pytest.raises(Conflict):
        await conversations.adopt(talk, fork.id)


async def test_adopt_expects_a_head(conversations, talk):
    fork = await conversations.fork(talk)
    await conversations.append(fork.id, [say("win", id="win")])
    with pytest.raises(RevisionConflict):
        await conversations.adopt(talk, fork.id, expected_head="t5")
    assert (await conversations.adopt(talk, fork.id, expected_head="t6")).head == "win"


@pytest.mark.parametrize(
    "turns",
    [[], [say("a", id="x"), say("b", id="x")], [say(str(n)) for n in range(1001)]],
    ids=["none", "twice", "many"],
)
async def test_bad_appends(conversations, talk, turns):
    with pytest.raises(InvalidInput):
        await conversations.append(talk, turns)
    assert (await conversations.get(talk)).turns == 6


async def test_a_turn_has_a_largest_size(conversations, talk):
    with pytest.raises(PayloadTooLarge):
        await conversations.append(talk, [say("x" * 1_100_000)])


async def test_the_newest_conversations_come_first(conversations):
    ids = [(await conversations.create(str(n))).id for n in range(4)]
    await conversations.append(ids[1], [say("hello")])
    listed = [c.id for c in await conversations.list(limit=3)]
    assert listed[0] == ids[1]
    assert len(listed) == 3


# --- search ---------------------------------------------------------------------------------------------------------


async def test_search(conversations, talk):
    fork = await conversations.fork(talk, at="t2")
    await conversations.append(fork.id, [say("The needle in the fork", id="n1")])
    await conversations.append(talk, [say("a NEEDLE in the talk", id="n2"), say("hay", id="n3")])
    assert [h.turn.id for h in await conversations.search("needle")] == ["n2", "n1"]
    assert [h.conversation for h in await conversations.search("needle")] == [talk, fork.id]
    assert [h.turn.id for h in await conversations.search("talk needle")] == ["n2"]
    assert [h.turn.id for h in await conversations.search("needle", conversation=fork.id)] == ["n1"]
    assert [h.turn.id for h in await conversations.search("t1", conversation=fork.id)] == ["t1"]
    assert await conversations.search("t3", conversation=fork.id) == []
    assert len(await conversations.search("t", limit=3)) == 3
    with pytest.raises(InvalidInput):
        await conversations.search("  ")


# --- many appenders -------------------------------------------------------------------------------------------------


async def test_sixteen_appenders_lose_nothing(store, other_store):
    everyone = [s.tenant("default").conversations for s in (store, other_store)]
    id = (await everyone[0].create()).id

    async def talk(conversations: Conversations, who: int) -> None:
        for n in range(6):
            await conversations.append(id, [say(f"{who}.{n}.{part}") for part in "ab"])

    await asyncio.gather(*(talk(everyone[who % 2], who) for who in range(16)))
    said = texts(await everyone[1].turns(id))
    assert len(said) == len(set(said)) == 16 * 6 * 2
    for who in range(16):
        assert [t for t in said if t.startswith(f"{who}.")] == [f"{who}.{n}.{p}" for n in range(6) for p in "ab"]
    pairs = list(zip(said[::2], said[1::2], strict=True))
    assert all(a[:-1] == b[:-1] for a, b in pairs), "what is appended together stays together"
    assert [t.depth for t in await everyone[0].turns(id)] == list(range(1, len(said) + 1))


async def test_the_same_append_from_everywhere_happens_once(store, other_store):
    everyone = [s.tenant("default").conversations for s in (store, other_store)]
    id = (await everyone[0].create()).id
    for n in range(5):
        turns = [say(f"{n}a", id=f"{n}a"), say(f"{n}b", id=f"{n}b")]
        await asyncio.gather(*(everyone[k % 2].append(id, turns) for k in range(8)))
    assert texts(await everyone[0].turns(id)) == [f"{n}{p}" for n in range(5) for p in "ab"]


async def test_one_of_many_wins_a_head(store, other_store):
    everyone = [s.tenant("default").conversations for s in (store, other_store)]
    id = (await everyone[0].create()).id
    head = ""
    for n in range(6):
        got = await asyncio.gather(
            *(everyone[k % 2].append(id, [say("x", id=f"{n}.{k}")], expected_head=head) for k in range(6)),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, RevisionConflict) for outcome in got) == 5
        conversation = await everyone[0].get(id)
        assert conversation.turns == n + 1
        head = conversation.head


async def test_an_appender_that_died_half_way_is_helped(scope, conversations, talk):
    """What a killed process leaves: a batch in its place, under no head, without an index."""
    orphan = say("orphan", id="orphan", depth=7, parents=["t6"], created_at=1.0)
    await conversations._log.add("talk", [orphan])
    assert (await conversations.get(talk)).head == "t6"
    assert await conversations.search("orphan") == []
    after = await conversations.append(talk, [say("next", id="next")])
    assert after.turns == 8
    assert texts(await conversations.turns(talk, limit=3)) == ["t6", "orphan", "next"]
    assert [h.turn.id for h in await conversations.search("orphan")] == ["orphan"]
    assert (await conversations.append(talk, [say("orphan", id="orphan")])).turns == 8


async def test_cancelled_appends_leave_a_whole_conversation(conversations):
    id = (await conversations.create()).id
    asked: list[str] = []
    for n in range(25):
        turns = [say(f"{n}{p}", id=f"{n}{p}") for p in "ab"]
        asked += texts(turns)
        appending = asyncio.ensure_future(conversations.append(id, turns))
        for _ in range(n):
            await asyncio.sleep(0)
        appending.cancel()
        await asyncio.gather(appending, return_exceptions=True)
    await conversations.append(id, [say("end")])
    said = texts(await conversations.turns(id))
    assert said[-1] == "end"
    assert said[:-1] == [t for t in asked if t in said]
    assert all(f"{t[:-1]}a" in said and f"{t[:-1]}b" in said for t in said[:-1]), "all of an append or nothing"


async def test_appends_and_an_adoption_race(store, other_store):
    """Whatever was acknowledged is there, before or after the adopted turns, or the adoption was refused."""
    mine, theirs = (s.tenant("default").conversations for s in (store, other_store))
    for turn in range(6):
        id = (await mine.create()).id
        await mine.append(id, [say("root")])
        fork = await mine.fork(id)
        await mine.append(fork.id, [say("won", id=f"won{turn}")])
        adopted, *appended = await asyncio.gather(
            theirs.adopt(id, fork.id), *(mine.append(id, [say(f"x{n}")]) for n in range(3)), return_exceptions=True
        )
        said = texts(await mine.turns(id))
        assert not any(isinstance(outcome, BaseException) for outcome in appended)
        assert {"x0", "x1", "x2"} <= set(said)
        assert isinstance(adopted, Conflict) != ("won" in said)
