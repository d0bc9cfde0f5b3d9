"""A prompt over a long conversation reads little; its rules are tested in `unit`."""

from __future__ import annotations

from schemas.conversation import Turn
from schemas.part import Part


def say(text: str, **fields) -> Turn:
    return Turn(parts=[Part(text=text)], **fields)


async def test_prompt_of_a_fork_of_a_long_conversation(scope):
    conversations = scope.conversations
    id = (await conversations.create()).id
    await conversations.append(id, [say("rules", role="system"), say("remember me", pinned=True)])
    for block in range(10):
        await conversations.append(id, [say(f"turn {block * 100 + n}", id=f"{block * 100 + n}") for n in range(100)])
    fork = await conversations.fork(id, at="899")
    await conversations.append(fork.id, [say("newest", role="assistant"), say("unsaid", pinned=True)])
    prompt = await conversations.prompt(fork.id, 120)
    contents = [m["content"] for m in prompt.messages]
    assert contents[:2] == ["rules", "remember me"]
    assert contents[-3:] == ["turn 899", "newest", "unsaid"]
    assert prompt.tokens <= 120
    assert prompt.cut + len(prompt.turns) == 904
    assert "unsaid" not in str((await conversations.prompt(id, 120)).messages)
