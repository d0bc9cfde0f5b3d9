"""Bytes by hash, moved in chunks and verified on both ends."""

from __future__ import annotations

import asyncio
import base64
from typing import Final

from box_agent.context.hub import Hub
from schemas.errors import IntegrityError
from schemas.tree import blob_hash, check_hash

CHUNK_BYTES: Final = 512 * 1024
_PARALLEL: Final = 4


class BlobClient:
    """Puts and gets blobs. Several chunks are under way at once, at most four."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def missing(self, hashes: list[str]) -> list[str]:
        """Those the hub does not have, in the order given."""
        found: list[str] = await self._hub.call("blob_missing", hashes=hashes)
        return found

    async def put(self, data: bytes, *, check: bool = True) -> str:
        """Store it; the hash. With ``check`` nothing is sent when the hub has it already."""
        digest = await asyncio.to_thread(blob_hash, data) if len(data) > CHUNK_BYTES else blob_hash(data)
        if check and len(data) > CHUNK_BYTES and not await self.missing([digest]):
            return digest
        for offset in range(0, max(1, len(data)), CHUNK_BYTES):
            chunk = base64.b64encode(data[offset : offset + CHUNK_BYTES]).decode()
            await self._hub.call("blob_put", hash=digest, data=chunk, offset=offset, total=len(data))
        return digest

    async def put_many(self, blobs: dict[str, bytes]) -> None:
        """Store those of ``hash → bytes`` that the hub does not have."""
        missing = await self.missing(list(blobs))
        slots = asyncio.Semaphore(_PARALLEL)

        async def one(digest: str) -> None:
            async with slots:
                await self.put(blobs[digest], check=False)

        async with asyncio.TaskGroup() as group:
            for digest in missing:
                group.create_task(one(digest))

    async def get(self, digest: str) -> bytes:
        """The bytes. Raises `BlobNotFound`, `IntegrityError` when they do not match their hash."""
        first = await self._chunk(check_hash(digest), 0)
        total, parts = first[1], {0: first[0]}
        slots = asyncio.Semaphore(_PARALLEL)

        async def one(offset: int) -> None:
            async with slots:
                parts[offset] = (await self._chunk(digest, offset))[0]

        async with asyncio.TaskGroup() as group:
            for offset in range(len(first[0]), total, CHUNK_BYTES):
                if not first[0]:
                    break
                group.create_task(one(offset))
        data = b"".join(part for _, part in sorted(parts.items()))
        actual = await asyncio.to_thread(blob_hash, data) if len(data) > CHUNK_BYTES else blob_hash(data)
        if actual != digest or len(data) != total:
            raise IntegrityError(
                f"blob {digest[:12]}…: the {len(data)} bytes that came are not the {total} that were stored"
            )
        return data

    async def _chunk(self, digest: str, offset: int) -> tuple[bytes, int]:
        answer = await self._hub.call("blob_get", hash=digest, offset=offset, limit=CHUNK_BYTES)
        return base64.b64decode(answer["data"]), int(answer["total"])
