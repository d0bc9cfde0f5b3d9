"""Dead letters: what no handler could take, and sending it round again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from hub.gateway.routes.access import AgentOf
from schemas.deadletter import DeadLetter

router = APIRouter(prefix="/deadletters", tags=["dead letters"])


@router.get("")
async def listing(
    agent: AgentOf, box: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[DeadLetter]:
    found: list[DeadLetter] = await agent.dead_letters(box=box, limit=limit)
    return found


@router.post("/{sequence}/redrive")
async def redrive(sequence: Annotated[int, Path(ge=1)], agent: AgentOf) -> dict[str, int]:
    """Publishes the original again, then removes the dead letter: at worst twice, never lost."""
    await agent.redrive(sequence)
    return {"redriven": sequence}
