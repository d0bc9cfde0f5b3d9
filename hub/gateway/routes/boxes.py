"""Boxes: what runs, where, with which skills; spawn, call, stop."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from hub.gateway.routes.access import AgentOf, Id, ServicesOf
from schemas.box import BoxDefinition, CacheEntry, Explanation, LiveBox, SpawnRequest
from schemas.node import NodeInfo

router = APIRouter(tags=["boxes"])


class CallRequest(BaseModel):
    arguments: dict[str, Any] = Field(default_factory=dict)
    timeout_s: float = Field(default=30.0, gt=0, le=3600)


class PruneRequest(BaseModel):
    unused_s: float = Field(default=0.0, ge=0)
    node: str = ""


@router.get("/boxes")
async def boxes(services: ServicesOf) -> list[LiveBox]:
    """Every address the registry knows: live boxes, attached agents and system addresses."""
    found: list[LiveBox] = await services.registry.boxes()
    return found


@router.get("/boxes/{box}")
async def box(box: Id, services: ServicesOf) -> LiveBox:
    found: LiveBox = await services.registry.box_get(box)
    return found


@router.get("/nodes")
async def nodes(services: ServicesOf) -> list[NodeInfo]:
    found: list[NodeInfo] = await services.registry.nodes()
    return found


@router.get("/definitions")
async def definitions(services: ServicesOf) -> list[BoxDefinition]:
    """Boxes that were registered and can be spawned or named as the target of a task."""
    found: list[BoxDefinition] = await services.registry.box_definitions()
    return found


@router.get("/definitions/{name}")
async def definition(name: Id, services: ServicesOf) -> BoxDefinition:
    found: BoxDefinition = await services.warmth.box_definition(name)
    return found


@router.get("/definitions/{name}/explanation")
async def explanation(name: Id, services: ServicesOf, node: str = "") -> Explanation:
    """Its layers, and which of them a node has."""
    said: Explanation = await services.warmth.box_explain(await services.warmth.box_definition(name), node)
    return said


@router.get("/cache")
async def cache(services: ServicesOf, node: str = "") -> list[CacheEntry]:
    """What nodes keep so that boxes start sooner."""
    found: list[CacheEntry] = await services.warmth.cache_list(node)
    return found


@router.post("/cache/prune")
async def prune(request: PruneRequest, services: ServicesOf) -> list[CacheEntry]:
    """Lets go what nothing stands on and nobody used for so long; answers what was let go."""
    gone: list[CacheEntry] = await services.warmth.cache_prune(request.unused_s, request.node)
    return gone


@router.post("/boxes", status_code=201)
async def spawn(request: SpawnRequest, services: ServicesOf) -> LiveBox:
    """Makes a live box; the same ``id`` twice is the same box."""
    made: LiveBox = await services.registry.box_spawn(request)
    return made


@router.delete("/boxes/{box}")
async def stop(box: Id, services: ServicesOf, reason: str = "") -> LiveBox:
    """Answers when every process of the box has ended."""
    stopped: LiveBox = await services.registry.box_stop(box, reason=reason)
    return stopped


@router.post("/boxes/{box}/skills/{skill}")
async def call(box: Id, skill: Id, request: CallRequest, agent: AgentOf) -> Any:
    """Calls a skill and waits for its result; live only, nothing is stored. For durable work submit a task."""
    return {"result": await agent.call(box, skill, timeout_s=request.timeout_s, **request.arguments)}
