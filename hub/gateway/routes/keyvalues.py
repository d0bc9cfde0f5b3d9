"""Key-values with revisions; with ``?branch=`` those of a branch."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from hub.gateway.routes.access import ServicesOf
from schemas.errors import NotFound
from schemas.keyvalue import Entry

router = APIRouter(prefix="/keyvalues", tags=["keyvalues"])


class PutRequest(BaseModel):
    value: Any
    expected_revision: int | None = Field(default=None, ge=0, description="0: the key must not exist")
    ttl_s: float | None = Field(default=None, gt=0)


@router.get("")
async def listing(
    services: ServicesOf, prefix: str = "", limit: Annotated[int, Query(ge=1, le=10_000)] = 1000, branch: str = ""
) -> list[Entry]:
    found: list[Entry] = await services.keyvalues.kv_list(prefix=prefix, limit=limit, branch=branch)
    return found


@router.get("/{key:path}")
async def read(key: str, services: ServicesOf, branch: str = "") -> Entry:
    entry: Entry | None = await services.keyvalues.kv_get(key, branch=branch)
    if entry is None:
        raise NotFound(f"no key {key!r}", key=key)
    return entry


@router.put("/{key:path}")
async def put(key: str, request: PutRequest, services: ServicesOf, branch: str = "") -> Entry:
    """409 when ``expected_revision`` is given and is not the current one."""
    entry: Entry = await services.keyvalues.kv_put(
        key, request.value, expected_revision=request.expected_revision, ttl_s=request.ttl_s, branch=branch
    )
    return entry


@router.delete("/{key:path}")
async def delete(
    key: str, services: ServicesOf, expected_revision: int | None = None, branch: str = ""
) -> dict[str, bool]:
    return {"deleted": await services.keyvalues.kv_delete(key, expected_revision=expected_revision, branch=branch)}
