"""What fits into a prompt, and that models' APIs take it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.conversations import Conversations, Cut, Prompt, estimate_tokens
from context_store.store import ContextStore
from schemas.conversation import ToolCall, Turn
from schemas.errors import InvalidInput
from schemas.part import Part


@pytest.fixture
async def conversations(tmp_path: Path) -> AsyncIterator[Conversations]:
    async with ContextStore(SqliteBackend(tmp_path / "s.db"), DirectoryBlobs(tmp_path / "b")) as store:
        yield store.tenant("default").conversations


def say(text: str, role: str = "user", **fields: Any) -> Turn:
    return Turn(role=role, parts=[Part(text=text)] if text else [], **fields)


def call(*ids: str, text: str = "", **fields: Any) -> Turn:
    return say(
        text, "assistant", tool_calls=[ToolCall(call_id=i, name="look", arguments={"id": i}) for i in ids], **fields
    )


def answer(to: str, text: str = "result", **fields: Any) -> Turn:
    return say(text, "tool", tool_call_id=to, **fields)


async def prompt(conversations: Conversations, turns: list[Turn], max_tokens: int = 10_000, **options: Any) -> Prompt:
    id = (await conversations.create()).id
    for turn in turns:
        await conversations.append(id, [turn])
    return await conversations.prompt(id, max_tokens, **options)


async def test_openai(conversations):
    made = await prompt(
        conversations,
        [
            say("rules", "system"), say("hi", author="ann"), call("c1", "c2", text="let me see"), answer("c1", "one"),
            answer("c2", "two"), say("done", "assistant", author="not a name!"), say("", "user"),
        ],
    )  # fmt: skip
    assert made.messages == [
        {"role": "system", "content": "rules"},
        {"role": "user", "name": "ann", "content": "hi"},
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {"id": i, "type": "function", "function": {"name": "look", "arguments": f'{{"id": "{i}"}}'}}
                for i in ("c1", "c2")
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "assistant", "content": "done"},
    ]
    assert (made.system, made.cut) == ("", 0)


async def test_anthropic(conversations):
    made = await prompt(
        conversations,
        [
            say("rules", "system"), say("hi"), say("there"), call("c1", "c2", text="let me see"), answer("c1", "one"),
            answer("c2", "two"), say("well?"), say("done", "assistant"), say("more rules", "system"),
            say(" ", "assistant"),
        ],
        format="anthropic",
    )  # fmt: skip
    assert made.system == "rules\n\nmore rules"
    assert made.messages == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"id": "c1"}},
                {"type": "tool_use", "id": "c2", "name": "look", "input": {"id": "c2"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
                {"type": "text", "text": "well?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "done"}]},
    ]


async def test_parts_of_every_kind(conversations):
    parts = [
        Part(text="look"),
        Part(data={"a": ["ü"]}),
        Part(raw=b"png", media_type="image/png"),
        Part(url="https://example.org/x.jpg", media_type="image/jpeg"),
        Part(blob="ab" * 32, filename="log.txt", media_type="text/plain"),
        Part(url="https://example.org/doc"),
        Part(raw=b"zip", filename="x.zip"),
        Part(),
    ]
    described = [
        "[log.txt (text/plain), stored as " + "ab" * 32 + "]",
        "[file at https://example.org/doc]",
        "[x.zip, 3 bytes]",
    ]
    openai = (await prompt(conversations, [Turn(parts=parts)])).messages[0]["content"]
    assert [b.get("text") for b in openai if b["type"] == "text"] == ["look", '{"a": ["ü"]}', *described]
    assert [b["image_url"]["url"] for b in openai if b["type"] == "image_url"] == [
        "data:image/png;base64,cG5n", "https://example.org/x.jpg",
    ]  # fmt: skip
    anthropic = (await prompt(conversations, [Turn(parts=parts)], format="anthropic")).messages[0]["content"]
    assert [b["source"] for b in anthropic if b["type"] == "image"] == [
        {"type": "base64", "media_type": "image/png", "data": "cG5n"},
        {"type": "url", "url": "https://example.org/x.jpg"},
    ]
    said = (await prompt(conversations, [Turn(role="assistant", parts=parts)])).messages[0]["content"]
    assert "[(image/png), 3 bytes]" in said


@pytest.mark.parametrize("format", ["openai", "anthropic"])
async def test_the_newest_fit_and_the_pinned_stay(conversations, format):
    turns = [say("rules", "system", id="s"), say("keep this", pinned=True, id="p")]
    turns += [say(f"question {n} " + "x" * 40, ["user", "assistant"][n % 2], id=f"t{n}") for n in range(50)]
    made = await prompt(conversations, turns, 200, format=format)
    assert made.tokens <= 200
    assert made.turns[:2] == ["s", "p"]
    newest = made.turns[2:]
    assert newest == [f"t{n}" for n in range(50 - len(newest), 50)]
    assert 5 < len(newest) < 20
    assert made.cut == 52 - len(made.turns)
    one_more = say("question x " + "x" * 40)
    assert made.tokens + estimate_tokens(one_more.text) + 4 > 200


async def test_pinned_turns_that_do_not_fit_are_an_error(conversations):
    with pytest.raises(InvalidInput) as refused:
        await prompt(conversations, [say("x" * 1000, pinned=True)], 100)
    assert refused.value.details["pinned_tokens"] > 250
    with pytest.raises(InvalidInput):
        await prompt(conversations, [], 100, format="gemini")


async def test_a_call_and_its_answers_are_taken_or_left_together(conversations):
    turns = [say("start"), call("c1", id="call"), answer("c1", "y" * 400, id="answer"), say("end", id="end")]
    small = await prompt(conversations, turns, 60)
    assert small.turns == ["end"]
    large = await prompt(conversations, turns, 200)
    assert large.turns[-3:] == ["call", "answer", "end"]


async def test_what_an_api_would_refuse_is_dropped(conversations):
    made = await prompt(
        conversations,
        [
            answer("nobody", id="orphan"), call("c1", "c2", id="half"), answer("c1", id="a1"), say("ok", id="ok"),
            call("c3", id="unanswered"), call("c4", text="with words", id="words"),
        ],
    )  # fmt: skip
    assert made.turns == ["half", "a1", "ok", "words"]
    assert [c["id"] for m in made.messages for c in m.get("tool_calls", [])] == ["c1"]
    assert made.messages[-1] == {"role": "assistant", "content": "with words"}


async def test_a_turn_that_came_between_is_moved_behind_the_answers(conversations):
    made = await prompt(conversations, [call("c1", id="call"), say("meanwhile", id="m"), answer("c1", id="a")])
    assert made.turns == ["call", "a", "m"]


async def test_call_ids_may_be_used_again_and_answered_twice(conversations):
    made = await prompt(
        conversations,
        [
            call("c", id="1"),
            answer("c", id="2"),
            call("c", id="3"),
            answer("c", "old", id="4"),
            answer("c", "new", id="5"),
        ],
    )
    assert made.turns == ["1", "2", "3", "5"]


async def test_a_pinned_answer_brings_its_call(conversations):
    turns = [call("c1", "c2", id="call"), answer("c1", pinned=True, id="a1"), answer("c2", id="a2")]
    turns += [say("filler " + "x" * 100, id=f"f{n}") for n in range(20)]
    made = await prompt(conversations, turns, 150)
    assert made.turns[:3] == ["call", "a1", "a2"]


async def test_a_summary_of_what_was_cut(conversations):
    cuts: list[tuple[Cut, list[str]]] = []

    async def summarise(cut: Cut) -> str:
        cuts.append((cut, [turn.id async for turn in cut.turns()]))
        return "they talked about the weather"

    turns = [say("pinned", pinned=True, id="p"), *(say("x" * 40, id=f"t{n}") for n in range(30))]
    made = await prompt(conversations, turns, 150, summarise=summarise, summary_tokens=40)
    ((cut, read),) = cuts
    assert made.summary == f"(summary of {cut.count} earlier turns) they talked about the weather"
    assert [m["content"] for m in made.messages][:2] == ["pinned", made.summary]
    assert (len(read), set(read)) == (cut.count, {t.id for t in turns} - set(made.turns))
    assert read[0] == f"t{29 - len(made.turns) + 1}"
    assert made.tokens <= 150
    assert made.cut == cut.count

    await prompt(conversations, [say("short")], summarise=summarise)
    assert len(cuts) == 1, "nothing was cut, so nothing is summarised"


@pytest.mark.parametrize("text", ["word " * 500, "", None])
async def test_summaries_too_long_are_shortened_and_empty_ones_left_out(conversations, text):
    async def summarise(cut: Cut) -> str | None:
        return text

    made = await prompt(conversations, [say("x" * 40) for _ in range(30)], 100, summarise=summarise, summary_tokens=30)
    assert made.tokens <= 100
    assert bool(made.summary) == bool(text)


async def test_tokens_are_counted_by_whom_one_likes(conversations):
    made = await prompt(
        conversations, [say(f"w {n}") for n in range(20)], 40, count_tokens=lambda text: len(text.split())
    )
    assert (len(made.turns), made.tokens) == (6, 36)


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("word", 1), ("words", 2), ("x" * 400, 100), ("世界", 3), ("é", 1)]
)
def test_estimate(text, tokens):
    assert estimate_tokens(text) == tokens


# --- any conversation -----------------------------------------------------------------------------------------------


IDS = st.sampled_from(["a", "b", "c"])
SOME_IDS = st.lists(IDS, min_size=1, max_size=2, unique=True)
TURNS = st.lists(
    st.one_of(
        st.builds(say, st.text(max_size=30), st.sampled_from(["user", "assistant", "system"]), pinned=st.booleans()),
        st.builds(
            lambda ids, text: call(*ids, text=text),
            st.lists(IDS, min_size=1, max_size=2, unique=True),
            st.text(max_size=5),
        ),
        st.builds(answer, IDS, st.text(max_size=20), pinned=st.integers(0, 9).map(lambda n: n == 0)),
    ),
    max_size=14,
)


@settings(max_examples=60)
@given(turns=TURNS, max_tokens=st.integers(60, 300), summary=st.booleans())
def test_every_prompt_is_one_an_api_takes(turns, max_tokens, summary):
    async def summarise(cut: Cut) -> str:
        return f"{cut.count} turns"

    async def check() -> None:
        with TemporaryDirectory() as directory:
            blobs = DirectoryBlobs(Path(directory) / "b")
            async with ContextStore(SqliteBackend(Path(directory) / "s.db"), blobs) as store:
                conversations = store.tenant("default").conversations
                id = (await conversations.create()).id
                if turns:
                    await conversations.append(id, turns)
                for format in ("openai", "anthropic"):
                    try:
                        made = await conversations.prompt(
                            id, max_tokens, format, summarise=summarise if summary else None
                        )
                    except InvalidInput as refused:
                        needed = refused.details["pinned_tokens"]
                    else:
                        needed = 0
                    if needed:
                        assert needed > max_tokens
                        continue
                    assert made.tokens <= max_tokens
                    assert json.loads(json.dumps(made.wire())) == made.wire()
                    (check_openai if format == "openai" else check_anthropic)(made.messages)
                    pinned = [t.id for t in turns if (t.pinned or t.role == "system") and t.role != "tool"]
                    assert set(pinned) <= set(made.turns)

    asyncio.run(check())


def check_openai(messages: list[dict[str, Any]]) -> None:
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
            continue
        assert open_calls == [], "every call is answered before anything else is said"
        open_calls = [c["id"] for c in message.get("tool_calls", [])]
        assert message["content"] or open_calls
    assert open_calls == []


def check_anthropic(messages: list[dict[str, Any]]) -> None:
    assert [m["role"] for m in messages] == [["user", "assistant"][n % 2] for n in range(len(messages))]
    calls: list[str] = []
    for message in messages:
        results = [b["tool_use_id"] for b in message["content"] if b["type"] == "tool_result"]
        assert sorted(results) == sorted(calls)
        assert [b["type"] for b in message["content"]][: len(results)] == ["tool_result"] * len(results)
        calls = [b["id"] for b in message["content"] if b["type"] == "tool_use"]
        assert message["content"]
        assert all(b["text"].strip() for b in message["content"] if b["type"] == "text")
    assert calls == []
