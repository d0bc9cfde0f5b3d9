"""Events and messages for programs that speak HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from hub.gateway.routes.access import AgentOf, Id
from schemas.subjects import event_pattern

router = APIRouter(tags=["events"])
_QUEUE = 1000


def _pattern(pattern: Annotated[str, Query(max_length=512)] = ">") -> str:
    """Checked here, because once a stream has begun it is too late for a status."""
    return event_pattern(pattern)


class EventRequest(BaseModel):
    name: str = Field(max_length=512)
    data: Any = None
    id: str | None = Field(default=None, max_length=128, description="The same id twice is stored once.")


class MessageRequest(BaseModel):
    data: Any = None
    id: str | None = Field(default=None, max_length=128)


@router.post("/events", status_code=201)
async def publish(request: EventRequest, agent: AgentOf) -> dict[str, int]:
    """Answers when the event is stored."""
    return {"sequence": await agent.publish_event(request.name, request.data, id=request.id)}


@router.post("/boxes/{box}/messages", status_code=201)
async def send(box: Id, request: MessageRequest, agent: AgentOf) -> dict[str, str]:
    """A durable direct message; answers when it is stored."""
    return {"id": await agent.send_message(box, request.data, id=request.id)}


@router.get("/events", response_class=EventSourceResponse)
async def follow(
    agent: AgentOf,
    pattern: Annotated[str, Depends(_pattern)],
    from_sequence: Annotated[int | None, Query(ge=1)] = None,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events as they come, or from a sequence; the stream's sequence is the id, so a browser resumes.

    A reader that cannot keep up slows its own subscription, never the bus, and loses nothing.
    """
    queue: asyncio.Queue[Any] = asyncio.Queue(_QUEUE)
    start = from_sequence if last_event_id is None else last_event_id + 1
    subscription = await agent.on_event(pattern, queue.put, from_sequence=start, durable=False)
    try:
        while True:
            event = await queue.get()
            data = {"name": event.name, "sender": event.sender, "data": event.data, "time": event.time}
            yield ServerSentEvent(data=data, event="event", id=str(event.sequence))
    finally:
        await subscription.aclose()
