"""Conversations: append-only, forkable, rendered as prompts. The one of a branch is ``@`` and the branch's id."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from hub.gateway.routes.access import ConversationId, ServicesOf
from schemas.conversation import Conversation, Turn

router = APIRouter(prefix="/conversations", tags=["conversations"])


class CreateRequest(BaseModel):
    title: str = ""
    id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class AppendRequest(BaseModel):
    turns: list[Turn] = Field(min_length=1, max_length=1000)
    expected_head: str | None = None


class ForkRequest(BaseModel):
    at: str | None = None
    title: str = ""


@router.get("")
async def listing(services: ServicesOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Conversation]:
    found: list[Conversation] = await services.conversations.conversation_list(limit=limit)
    return found


@router.post("", status_code=201)
async def create(request: CreateRequest, services: ServicesOf) -> Conversation:
    made: Conversation = await services.conversations.conversation_create(
        title=request.title, metadata=request.metadata, id=request.id
    )
    return made


@router.get("/{conversation}")
async def read(conversation: ConversationId, services: ServicesOf) -> Conversation:
    found: Conversation = await services.conversations.conversation_get(conversation)
    return found


@router.get("/{conversation}/turns")
async def turns(
    conversation: ConversationId,
    services: ServicesOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    before: str | None = None,
) -> list[Turn]:
    """Oldest first; the newest ``limit`` turns, or those before a turn."""
    found: list[Turn] = await services.conversations.conversation_turns(conversation, limit=limit, before=before)
    return found


@router.post("/{conversation}/turns", status_code=201)
async def append(conversation: ConversationId, request: AppendRequest, services: ServicesOf) -> Conversation:
    """With ``expected_head`` 409 when somebody else appended meanwhile."""
    found: Conversation = await services.conversations.conversation_append(
        conversation, turns=request.turns, expected_head=request.expected_head
    )
    return found


@router.post("/{conversation}/fork", status_code=201)
async def fork(conversation: ConversationId, request: ForkRequest, services: ServicesOf) -> Conversation:
    made: Conversation = await services.conversations.conversation_fork(
        conversation, at=request.at, title=request.title
    )
    return made


@router.get("/{conversation}/prompt")
async def prompt(
    conversation: ConversationId,
    services: ServicesOf,
    max_tokens: Annotated[int, Query(ge=1)] = 8000,
    format: Literal["openai", "anthropic"] = "openai",
) -> Any:
    return await services.conversations.conversation_prompt(conversation, max_tokens=max_tokens, format=format)
