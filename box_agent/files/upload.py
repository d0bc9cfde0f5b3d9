"""What a scan found, brought to the hub's blob store: only what it does not have, in batches of bounded size."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, Protocol

from box_agent.files.scan import Scan
from schemas.errors import Conflict, IntegrityError
from schemas.tree import blob_hash

_BATCH_BYTES: Final = 16 * 1024 * 1024
_ASKED: Final = 2000  # hashes in one question


class Blobs(Protocol):
    """What is needed of `box_agent.context.blobs.BlobClient`."""

    async def missing(self, hashes: list[str]) -> list[str]: ...

    async def put(self, data: bytes, *, check: bool = True) -> str: ...

    async def put_file(self, path: Path, digest: str) -> None: ...


async def upload(scan: Scan, blobs: Blobs) -> int:
    """Stores every blob of ``scan`` and returns how many were new; nothing refers to them yet.

    Raises `Conflict` when a file was changed since the scan.
    """
    digests = list(scan.blobs)
    new = 0
    for start in range(0, len(digests), _ASKED):
        missing = await blobs.missing(digests[start : start + _ASKED])
        new += len(missing)
        batch: list[bytes] = []
        for digest in missing:
            blob = scan.blobs[digest]
            if isinstance(blob, Path) and await _size(blob) > _BATCH_BYTES:
                await _put_file(blobs, blob, digest)
                continue
            batch.append(await _bytes(scan.blobs[digest], digest))
            if sum(map(len, batch)) >= _BATCH_BYTES:
                await _put(blobs, batch)
                batch = []
        await _put(blobs, batch)
    return new


async def _size(path: Path) -> int:
    try:
        return (await asyncio.to_thread(path.stat)).st_size
    except OSError as error:
        raise _gone(path, error) from error


async def _put_file(blobs: Blobs, path: Path, digest: str) -> None:
    try:
        await blobs.put_file(path, digest)
    except OSError as error:
        raise _gone(path, error) from error
    except IntegrityError as error:
        raise Conflict(f"{path} was changed since it was scanned; scan again") from error


async def _bytes(blob: bytes | Path, digest: str) -> bytes:
    if isinstance(blob, bytes):
        return blob
    try:
        data = await asyncio.to_thread(blob.read_bytes)
    except OSError as error:
        raise _gone(blob, error) from error
    if blob_hash(data) != digest:
        raise Conflict(f"{blob} was changed since it was scanned; scan again")
    return data


async def _put(blobs: Blobs, batch: list[bytes]) -> None:
    slots = asyncio.Semaphore(4)

    async def one(data: bytes) -> None:
        async with slots:
            await blobs.put(data, check=False)

    async with asyncio.TaskGroup() as group:
        for data in batch:
            group.create_task(one(data))


def _gone(path: Path, error: OSError) -> Conflict:
    return Conflict(f"{path} is gone since it was scanned ({error.strerror}); scan again")
