"""Conversations: append-only trees of turns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from context_store.store import Scope
from hub.config import Limits
from hub.services import bounds
from hub.services.principal import Principal
from schemas.conversation import Conversation, Turn


class ConversationService:
    """The conversations of one tenant."""

    def __init__(self, scope: Scope, principal: Principal, limits: Limits) -> None:
        self._conversations = scope.conversations
        self._principal = principal
        self._limits = limits

    async def conversation_create(
        self, title: str = "", metadata: dict[str, Any] | None = None, id: str | None = None
    ) -> Conversation:
        """An empty conversation. Raises `AlreadyExists` for an id that is taken."""
        bounds.length(title, 500, "the title")
        bounds.json_size(metadata or {}, self._limits.metadata_bytes, "metadata")
        return await self._conversations.create(title, metadata=metadata or {}, id=id)

    async def conversation_get(self, id: str) -> Conversation:
        """Raises `ConversationNotFound`."""
        return await self._conversations.get(id)

    async def conversation_list(self, limit: int = 100) -> list[Conversation]:
        """The one appended to last first."""
        return await self._conversations.list(limit=bounds.at_most(limit, self._limits.list_items))

    async def conversation_append(self, id: str, turns: list[Turn], expected_head: str | None = None) -> Conversation:
        """Add turns at the end, all together; a turn that is there already is not added again.

        A turn without an author is the asker's. Raises `RevisionConflict` when the head is not ``expected_head``.
        """
        bounds.at_most(len(turns), self._limits.turns_per_append, "turns")
        for turn in turns:
            bounds.json_size(turn.wire(), self._limits.turn_bytes, f"turn {turn.id!r}")
        signed = [turn if turn.author else turn.model_copy(update={"author": self._principal.owner}) for turn in turns]
        return await self._conversations.append(id, signed, expected_head=expected_head)

    async def conversation_turns(self, id: str, limit: int = 1000, before: str | None = None) -> list[Turn]:
        """The newest turns, or those before a turn; the oldest first."""
        return await self._conversations.turns(id, limit=bounds.at_most(limit, self._limits.list_items), before=before)

    async def conversation_fork(self, id: str, at: str | None = None, title: str = "") -> Conversation:
        """A conversation that shares the turns up to ``at`` (default: all) and goes on separately."""
        bounds.length(title, 500, "the title")
        return await self._conversations.fork(id, at=at, title=title)

    async def conversation_prompt(
        self, id: str, max_tokens: int, format: Literal["openai", "anthropic"] = "openai"
    ) -> dict[str, Any]:
        """What of it fits into ``max_tokens``, as a model's API takes it."""
        bounds.at_most(max_tokens, 10_000_000, "max_tokens")
        return asdict(await self._conversations.prompt(id, max_tokens, format))
