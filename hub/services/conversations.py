"""Conversations: append-only trees of turns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from context_store.conversations.joining import line_of
from context_store.store import Scope
from hub.config import Limits
from hub.services import bounds
from hub.services.principal import Principal
from schemas.conversation import Conversation, Turn
from schemas.errors import InvalidInput


class ConversationService:
    """The conversations of one tenant.

    With ``branch`` the id is seen from that branch: its workspace's conversation, or no id, is the branch's own, which
    others see once it is committed. Any other can be read from a branch, but not written: that would be seen at once.
    """

    def __init__(self, scope: Scope, principal: Principal, limits: Limits) -> None:
        self._branches = scope.branches
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

    async def conversation_get(self, id: str = "", branch: str = "") -> Conversation:
        """Raises `ConversationNotFound`."""
        return await self._conversations.get(await self._seen(id, branch))

    async def conversation_list(self, limit: int = 100) -> list[Conversation]:
        """The one appended to last first."""
        return await self._conversations.list(limit=bounds.at_most(limit, self._limits.list_items))

    async def conversation_append(
        self, id: str, turns: list[Turn], expected_head: str | None = None, branch: str = ""
    ) -> Conversation:
        """Add turns at the end, all together; a turn that is there already is not added again.

        A turn without an author is the asker's. Raises `RevisionConflict` when the head is not ``expected_head``,
        `TerminalState` when the branch has ended.
        """
        bounds.at_most(len(turns), self._limits.turns_per_append, "turns")
        for turn in turns:
            bounds.json_size(turn.wire(), self._limits.turn_bytes, f"turn {turn.id!r}")
        signed = [turn if turn.author else turn.model_copy(update={"author": self._principal.owner}) for turn in turns]
        return await self._conversations.append(
            await self._seen(id, branch, write=True), signed, expected_head=expected_head
        )

    async def conversation_turns(
        self, id: str = "", limit: int = 1000, before: str | None = None, branch: str = ""
    ) -> list[Turn]:
        """The newest turns, or those before a turn; the oldest first."""
        bounds.at_most(limit, self._limits.list_items)
        return await self._conversations.turns(await self._seen(id, branch), limit=limit, before=before)

    async def conversation_fork(
        self, id: str = "", at: str | None = None, title: str = "", branch: str = ""
    ) -> Conversation:
        """A conversation that shares the turns up to ``at`` (default: all) and goes on separately."""
        bounds.length(title, 500, "the title")
        return await self._conversations.fork(await self._seen(id, branch), at=at, title=title)

    async def conversation_prompt(
        self, id: str, max_tokens: int, format: Literal["openai", "anthropic"] = "openai", branch: str = ""
    ) -> dict[str, Any]:
        """What of it fits into ``max_tokens``, as a model's API takes it."""
        bounds.at_most(max_tokens, 10_000_000, "max_tokens")
        return asdict(await self._conversations.prompt(await self._seen(id, branch), max_tokens, format))

    async def _seen(self, id: str, branch: str, *, write: bool = False) -> str:
        """The id of what ``id`` is on the branch."""
        if not branch:
            return id
        own = line_of(branch)
        if id in ("", own) or id == (await self._branches.get(branch)).conversation:
            return own
        if write:
            raise InvalidInput(
                f"conversation {id!r} is not on branch {branch!r}, so others would see at once what is said there: say "
                "it in the branch's own (no id), or leave the branch with conversations.on('')",
                conversation=id,
                branch=branch,
            )
        return id
