"""Conversations: append-only trees of turns. A conversation is a pointer to its newest turn, so a fork is O(1)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.ids import new_id
from schemas.model import Model, Value
from schemas.part import Part

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Value):
    """An assistant turn asks for a tool; the answer is a ``tool`` turn with the same ``call_id``."""

    call_id: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Turn(Value):
    """One turn; immutable. ``parents`` has one id, none for the first, two after a join."""

    id: str = Field(default_factory=lambda: new_id("turn"))
    parents: list[str] = Field(default_factory=list)
    depth: int = 1
    role: Role = "user"
    author: str = ""  # address of who said it
    parts: list[Part] = Field(default_factory=list)
    tool_calls: list[ToolCall] = Field(default_factory=list)
    tool_call_id: str = ""  # for role "tool"
    pinned: bool = False  # always in the prompt
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: float = 0.0

    @property
    def text(self) -> str:
        return "\n".join(p.text for p in self.parts if p.text is not None)


class Conversation(Model):
    """A mutable ref to the newest turn."""

    id: str
    title: str = ""
    head: str = ""  # turn id; empty before the first turn
    turns: int = 0  # length of the chain from the head back to the root
    forked_from: str = ""  # conversation id
    created_at: float = 0.0
    updated_at: float = 0.0
    metadata: dict[str, Any] = Field(default_factory=dict)
