"""Tasks: submit, read, cancel, follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from hub.gateway.routes.access import Id, ServicesOf
from schemas.task import TaskRecord, TaskSpec, TaskState, TaskUpdate

router = APIRouter(prefix="/tasks", tags=["tasks"])


class CancelRequest(BaseModel):
    reason: str = ""


@router.post("", status_code=202)
async def submit(spec: TaskSpec, services: ServicesOf) -> TaskRecord:
    """Accepted means stored. The same ``id`` with the same content again gives the same task."""
    record: TaskRecord = await services.tasks.task_submit(spec)
    return record


@router.get("")
async def listing(
    services: ServicesOf, state: TaskState | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[TaskRecord]:
    """Newest first."""
    found: list[TaskRecord] = await services.tasks.task_list(state=state, limit=limit)
    return found


@router.get("/{task}")
async def read(task: Id, services: ServicesOf) -> TaskRecord:
    record: TaskRecord = await services.tasks.task_get(task)
    return record


@router.get("/{task}/explain")
async def explain(task: Id, services: ServicesOf) -> dict[str, Any]:
    """Why it is where it is: ``why`` in words, place in the queue, the reason for each node, the retry, the lease."""
    told: dict[str, Any] = await services.tasks.task_explain(task)
    return told


@router.post("/{task}/cancel", status_code=202)
async def cancel(task: Id, services: ServicesOf, request: CancelRequest | None = None) -> TaskRecord:
    """Stores the wish; ``state`` becomes ``canceled`` when the process that ran the task has ended."""
    record: TaskRecord = await services.tasks.task_cancel(task, reason=request.reason if request else "")
    return record


@router.get("/{task}/updates")
async def updates(
    task: Id,
    services: ServicesOf,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> list[TaskUpdate]:
    """What is stored already, from number ``after + 1`` on."""
    found: list[TaskUpdate] = []
    record: TaskRecord = await services.tasks.task_get(task)
    if record.updates <= after:
        return found
    async for update in services.tasks.task_updates(task, after=after):
        found.append(update)
        if len(found) >= limit or update.number >= record.updates:
            break
    return found


async def _known(task: Id, services: ServicesOf) -> str:
    """Asked here, because once a stream has begun it is too late for a 404."""
    await services.tasks.task_get(task)
    return task


@router.get("/{task}/stream", response_class=EventSourceResponse)
async def stream(
    task: Annotated[str, Depends(_known)],
    services: ServicesOf,
    after: Annotated[int, Query(ge=0)] = 0,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events, one per update, its number as id: a browser that reconnects resumes by itself."""
    async for update in services.tasks.task_updates(task, after=after if last_event_id is None else last_event_id):
        yield ServerSentEvent(data=update, event=update.kind, id=str(update.number))
