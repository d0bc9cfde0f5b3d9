"""Append-only trees of turns, shared between agents."""

from __future__ import annotations

from builtins import list as List
from typing import Any, Literal

from box_agent.context.hub import Hub
from schemas.conversation import Conversation, Role, Turn
from schemas.part import Part


class ConversationClient:
    """The tenant's conversations, or what they are on one branch: `on`."""

    def __init__(self, hub: Hub, branch: str = "") -> None:
        self._hub = hub
        self._on: dict[str, Any] = {"branch": branch} if branch else {}

    def on(self, branch: str) -> ConversationClient:
        """Seen from a branch: its workspace's conversation, and an empty id, are the branch's own. ``""``: no branch.

        What is said there others see when the branch is committed: in order, behind what was said meanwhile. Other
        conversations can be read from a branch but not appended to (`InvalidInput`).
        """
        return ConversationClient(self._hub, branch)

    async def create(
        self, title: str = "", *, metadata: dict[str, Any] | None = None, id: str | None = None
    ) -> Conversation:
        return await self._hub.one(
            Conversation, "conversation_create", repeat=False, title=title, metadata=metadata or {}, id=id
        )

    async def get(self, id: str = "") -> Conversation:
        """Raises `ConversationNotFound`."""
        return await self._hub.one(Conversation, "conversation_get", id=id, **self._on)

    async def list(self, limit: int = 100) -> List[Conversation]:
        return await self._hub.many(Conversation, "conversation_list", limit=limit)

    async def append(self, id: str, turns: List[Turn], *, expected_head: str | None = None) -> Conversation:
        """Add turns at the end. Raises `RevisionConflict` when the head is not ``expected_head``."""
        rows = [turn.wire() for turn in turns]
        return await self._hub.one(
            Conversation, "conversation_append", id=id, turns=rows, expected_head=expected_head, **self._on
        )

    async def say(self, id: str, text: str, *, role: Role = "user", author: str = "") -> Conversation:
        """Append one turn of text."""
        return await self.append(id, [Turn(role=role, author=author, parts=[Part(text=text)])])

    async def turns(self, id: str = "", limit: int = 1000, before: str | None = None) -> List[Turn]:
        """The newest ``limit`` turns (older than ``before``), oldest first."""
        return await self._hub.many(Turn, "conversation_turns", id=id, limit=limit, before=before, **self._on)

    async def fork(self, id: str, *, at: str | None = None, title: str = "") -> Conversation:
        """A new conversation that shares the turns up to ``at`` (default: all). O(1)."""
        return await self._hub.one(
            Conversation, "conversation_fork", repeat=False, id=id, at=at, title=title, **self._on
        )

    async def prompt(self, id: str, max_tokens: int, format: Literal["openai", "anthropic"] = "openai") -> Any:
        """The conversation as an LLM takes it, within ``max_tokens``."""
        return await self._hub.call("conversation_prompt", id=id, max_tokens=max_tokens, format=format, **self._on)
