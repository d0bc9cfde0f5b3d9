"""Bytes by hash, moved in chunks."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from context_store.store import Scope
from hub.config import Limits
from hub.services import bounds
from hub.services.principal import Principal
from schemas.errors import BlobNotFound, InvalidInput
from schemas.tree import blob_hash, check_hash


class BlobService:
    """The blobs of one tenant."""

    def __init__(self, scope: Scope, principal: Principal, limits: Limits) -> None:
        self._blobs = scope.blobs
        self._limits = limits

    async def blob_missing(self, hashes: list[str]) -> list[str]:
        """Those that are not stored, each once, in order."""
        bounds.count(len(hashes), self._limits.blobs_per_query, "hashes")
        return await self._blobs.missing(check_hash(digest) for digest in hashes)

    async def blob_put(self, hash: str, data: str, offset: int = 0, total: int | None = None) -> dict[str, Any]:
        """Store bytes (base64), or one piece of them: ``total`` is the size of all.

        Pieces come in order; one that is sent again is fine. The last one checks the whole against ``hash``.
        Answers ``{"received": bytes there now, "complete": bool}``. Raises `IntegrityError`, `PayloadTooLarge`.
        """
        check_hash(hash)
        piece = _decoded(data)
        bounds.bytes_of(len(piece), self._limits.blob_chunk_bytes, "a piece of a blob")
        size = len(piece) if total is None else total
        bounds.bytes_of(size, self._limits.blob_bytes, "a blob")
        if offset == 0 and size == len(piece) and blob_hash(piece) == hash:
            await self._blobs.put(piece)
            return {"received": size, "complete": True}
        result = await self._blobs.put_part(hash, piece, offset=offset, total=size)
        return {"received": result.received, "complete": result.complete}

    async def blob_get(self, hash: str, offset: int = 0, limit: int = 524288) -> dict[str, Any]:
        """``{"data": base64 of at most limit bytes from offset, "total": size}``. Raises `BlobNotFound`."""
        bounds.at_most(limit, self._limits.blob_chunk_bytes)
        if offset < 0:
            raise InvalidInput(f"offset {offset} is below 0")
        check_hash(hash)
        total = await self._blobs.size(hash)
        data = await self._blobs.read(hash, offset, limit)
        return {"data": base64.b64encode(data).decode(), "total": total}

    async def blob_get_batch(self, hashes: list[str], limit: int = 524288) -> list[str | None]:
        """The bytes (base64) of the first blobs that have room in ``limit`` bytes together; at least one item.

        ``None`` stands for one that is not stored, or has not room alone: ask `blob_get` for it.
        """
        bounds.at_most(limit, self._limits.blob_chunk_bytes)
        bounds.count(len(hashes), self._limits.blobs_per_query, "hashes")
        chosen: list[str | None] = []
        left = limit
        for digest in hashes:
            check_hash(digest)
            try:
                size = await self._blobs.size(digest)
            except BlobNotFound:
                size = limit + 1
            if left < size <= limit:
                break
            chosen.append(digest if size <= limit else None)
            left -= size if size <= limit else 0
        wanted = [digest for digest in chosen if digest is not None]
        data = iter(await self._blobs.get_many(wanted))
        return [None if digest is None else base64.b64encode(next(data)).decode() for digest in chosen]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"data is not base64: {error}") from error
