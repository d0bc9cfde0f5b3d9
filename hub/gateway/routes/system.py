"""Probes, tenants and the wire schema."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from hub.gateway.routes.access import HubOf
from schemas.export import json_schema

probes = APIRouter(tags=["system"])
router = APIRouter(tags=["system"])


@probes.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@probes.get("/readyz")
async def readyz(hub: HubOf, response: Response) -> dict[str, Any]:
    """The hub can do its work: 200, else 503 with what is missing."""
    checks: dict[str, str] = await hub.readiness()
    failed = {name: why for name, why in checks.items() if why}
    if failed:
        response.status_code = 503
    return {"status": "unready" if failed else "ready", "failed": failed}


@router.get("/tenants")
async def tenants(hub: HubOf) -> list[str]:
    return sorted(hub.tenants())


@router.get("/schema")
async def schema() -> dict[str, Any]:
    """Everything that goes over the wire, as JSON Schema."""
    return json_schema()
