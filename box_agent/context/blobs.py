"""Bytes by hash, moved in chunks and verified on both ends."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from box_agent.context.hub import Hub
from schemas.errors import IntegrityError, InvalidInput
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

        async def piece(offset: int) -> bytes:
            return data[offset : offset + CHUNK_BYTES]

        await self._send(digest, len(data), piece)
        return digest

    async def put_file(self, path: Path, digest: str) -> None:
        """Store the file in constant memory; goes on where an earlier attempt was cut off.

        Raises `IntegrityError` when its bytes are not what the hash says, `OSError` when it cannot be read.
        """

        def read(offset: int) -> bytes:
            # Opened each time: who is cancelled while a thread opens a file has nothing to close.
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(CHUNK_BYTES)

        total = (await asyncio.to_thread(path.stat)).st_size
        await self._send(digest, total, lambda offset: asyncio.to_thread(read, offset))

    async def _send(self, digest: str, total: int, piece: Callable[[int], Awaitable[bytes]]) -> None:
        """In order, from wherever the hub that takes a piece has got to: another one may be further, or less far."""
        offset = 0
        while True:
            data = base64.b64encode(await piece(offset)).decode()
            try:
                answer = await self._hub.call("blob_put", hash=digest, data=data, offset=offset, total=total)
            except InvalidInput as error:
                received = error.details.get("received")
                if not isinstance(received, int) or not 0 <= received < offset:
                    raise
                offset = received
                continue
            if answer["complete"]:
                return
            offset = int(answer["received"])

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

    async def get_batch(self, digests: list[str]) -> list[bytes | None]:
        """The bytes of the first few, as many as one answer has room for; ``None`` for one absent or too large for it.

        At least one. Raises `IntegrityError` for bytes that do not match their hash.
        """
        answer = await self._hub.call("blob_get_batch", hashes=digests, limit=CHUNK_BYTES)
        found = [None if data is None else base64.b64decode(data) for data in answer]
        for digest, data in zip(digests, found, strict=False):
            if data is not None and blob_hash(data) != digest:
                raise IntegrityError(f"blob {digest[:12]}…: other bytes came than were stored", hash=digest)
        return found

    async def pieces(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes from ``offset`` on, in order, four pieces on their way at once; not verified.

        Raises `BlobNotFound`, `InvalidInput` when there are fewer than ``offset``.
        """
        first, total = await self._chunk(check_hash(digest), offset)
        if offset > total:
            raise InvalidInput(f"blob {digest[:12]}… has {total} bytes, not {offset}", total=total)
        if first:
            yield first
        starts = range(offset + len(first), total if first else 0, CHUNK_BYTES)
        for number in range(0, len(starts), _PARALLEL):
            try:
                async with asyncio.TaskGroup() as group:
                    window = starts[number : number + _PARALLEL]
                    coming = [group.create_task(self._chunk(digest, start)) for start in window]
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None
            for task in coming:
                yield task.result()[0]

    async def _chunk(self, digest: str, offset: int) -> tuple[bytes, int]:
        answer = await self._hub.call("blob_get", hash=digest, offset=offset, limit=CHUNK_BYTES)
        return base64.b64decode(answer["data"]), int(answer["total"])
