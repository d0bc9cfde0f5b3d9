"""Blobs in a store that several machines share, behind a directory on this one.

What is put is verified and kept in the directory, then stored. What is read comes from the directory, or is brought
there first, verified: a piece at a time, in constant memory, and from where an earlier attempt, or process, left off.
The directory is a cache: damaged or lost, its blobs are brought again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, TypeVar

from context_store.blobs.directory import DirectoryBlobs, DirectoryTenantBlobs
from context_store.blobs.objects import Objects, ObjectStore
from context_store.blobs.port import Blobs, BlobStore, PartResult, StoredBlob
from context_store.blobs.together import together
from schemas.errors import BlobNotFound, IntegrityError, StoreUnavailable
from schemas.tree import EMPTY_TREE, blob_hash, check_hash

T = TypeVar("T")

DEFAULT_CACHE_BYTES: Final = 10 * 1024**3
DEFAULT_REFRESH_S: Final = 3600.0
_PARALLEL: Final = 16
_TRIES: Final = 3


class CachedBlobs(BlobStore):
    """Blobs of ``store``, with ``cache`` as this machine's cache and staging area, which nothing else may use.

    ``cache_bytes`` bounds the cache of each tenant: the blobs that came first go first, somewhat late. ``used_at`` of
    a blob is brought up to date once ``refresh_s`` seconds old, so it may lag behind by that much: a collector's grace
    must be longer. Closes both.
    """

    def __init__(
        self,
        store: ObjectStore,
        cache: DirectoryBlobs,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        refresh_s: float = DEFAULT_REFRESH_S,
    ) -> None:
        self._store = store
        self._cache = cache
        self.cache_bytes = cache_bytes
        self.refresh_s = refresh_s
        self._tenants: dict[str, CachedTenantBlobs] = {}

    def tenant(self, tenant: str) -> CachedTenantBlobs:
        if tenant not in self._tenants:
            self._tenants[tenant] = CachedTenantBlobs(self, self._store.tenant(tenant), self._cache.tenant(tenant))
        return self._tenants[tenant]

    async def __aenter__(self) -> Self:
        await self._store.open()
        return self

    async def aclose(self) -> None:
        for tenant in self._tenants.values():
            await tenant.aclose()
        try:
            await self._store.aclose()
        finally:
            await self._cache.aclose()


class CachedTenantBlobs(Blobs):
    def __init__(self, store: CachedBlobs, objects: Objects, cache: DirectoryTenantBlobs) -> None:
        self._store = store
        self._objects = objects
        self._cache = cache
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._pinned: Counter[str] = Counter()
        self._damaged: set[str] = set()  # seen damaged in the store: absent for writers, until one writes it anew
        self._brought_bytes = store.cache_bytes  # since the cache was last looked through: at first, so at once

    # --- writing -----------------------------------------------------------------------------------------------------

    async def put(self, data: bytes) -> str:
        digest = blob_hash(data) if len(data) < 1 << 16 else await asyncio.to_thread(blob_hash, data)
        async with self._pin(digest):
            await self._cache.put(data)
            await self._publish(digest, len(data))
        return digest

    async def put_many(self, blobs: Sequence[bytes]) -> list[str]:
        """In the order given, sixteen on their way at once; the last only when all others are stored.

        Callers put a directory after what is in it, so a tree that can be seen is whole.
        """
        *first, last = blobs or [b""]
        hashes = await together(self._put_slowly(data) for data in first)
        return [*hashes, await self.put(last)] if blobs else []

    async def put_stream(self, chunks: AsyncIterable[bytes]) -> tuple[str, int]:
        digest, size = await self._cache.put_stream(chunks)
        async with self._pin(digest):
            await self._publish(digest, size)
        return digest, size

    async def put_part(self, digest: str, data: bytes, *, offset: int, total: int) -> PartResult:
        check_hash(digest)
        async with self._pin(digest):
            result = await self._cache.put_part(digest, data, offset=offset, total=total)
            if result.complete:
                await self._publish(digest, total)
        return result

    async def _put_slowly(self, data: bytes) -> str:
        async with self._slots:
            return await self.put(data)

    async def _publish(self, digest: str, size: int) -> None:
        """Have what the cache holds in the store, too."""
        if digest == EMPTY_TREE:
            return
        if await self._is_published(digest, size):
            return
        try:
            await self._objects.write(digest, self._cache.file(digest))
        except FileNotFoundError as error:
            raise StoreUnavailable(f"the cache lost {digest} while it was being stored; put it again") from error
        self._damaged.discard(digest)
        await self._count(size)

    async def _is_published(self, digest: str, size: int) -> bool:
        """Whether the store has it, and knows that it is in use."""
        found = None if digest in self._damaged else await self._objects.stat(digest)
        if found is None or found.size != size:
            return False
        return time.time() - found.used_at < self._store.refresh_s or await self._objects.touch(digest)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def get(self, digest: str) -> bytes:
        check_hash(digest)
        return await self._cached(digest, lambda: self._cache.get(digest))

    async def get_many(self, digests: Sequence[str]) -> list[bytes]:
        for digest in digests:
            check_hash(digest)
        try:
            return await self._cache.get_many(digests)
        except (BlobNotFound, IntegrityError):
            pass  # one at a time, then: those that are not here are brought
        return await together(self._get_slowly(digest) for digest in digests)

    async def read(self, digest: str, offset: int = 0, limit: int | None = None) -> bytes:
        check_hash(digest)
        return await self._cached(digest, lambda: self._cache.read(digest, offset, limit))

    async def open(self, digest: str, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        offset = 0
        while chunk := await self.read(digest, offset, chunk_bytes):
            yield chunk
            offset += len(chunk)

    async def size(self, digest: str) -> int:
        check_hash(digest)
        try:
            return await self._cache.size(digest)
        except BlobNotFound:
            if (found := await self._objects.stat(digest)) is None:
                raise
            return found.size

    async def _get_slowly(self, digest: str) -> bytes:
        async with self._slots:
            return await self.get(digest)

    async def _cached(self, digest: str, read: Callable[[], Awaitable[T]]) -> T:
        """``read`` from the cache, when the blob is there; it may have to be brought, and may be dropped meanwhile."""
        for _ in range(_TRIES):
            try:
                return await read()
            except IntegrityError:
                await self._cache.delete(digest)  # the store has it, or had it
            except BlobNotFound:
                pass
            await self._bring(digest)
        return await read()

    async def _bring(self, digest: str) -> None:
        """From the store to the cache, once however many ask. Raises `BlobNotFound`, `IntegrityError`."""
        task = self._coming.get(digest)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(digest), name=f"blob {digest[:12]}")
            self._coming[digest] = task
            task.add_done_callback(lambda done: self._brought(digest, done))
        await asyncio.shield(task)  # who waits no longer must not take it from the others

    def _brought(self, digest: str, done: asyncio.Task[None]) -> None:
        del self._coming[digest]
        if not done.cancelled():
            done.exception()  # seen: whoever waited has got it

    async def _fetch(self, digest: str) -> None:
        found = await self._objects.stat(digest)
        if found is None:
            raise BlobNotFound(f"no blob {digest}", hash=digest)
        try:
            await self._resume(digest, found.size)
        except IntegrityError:
            try:
                await self._resume(digest, found.size)  # perhaps what an earlier attempt left was damaged: it is gone
            except IntegrityError:
                self._damaged.add(digest)
                raise
        await self._count(found.size)

    async def _resume(self, digest: str, total: int) -> None:
        """Bring what is missing. Raises `IntegrityError`, and then has dropped what there was."""
        part = await self._cache.put_part(digest, b"", offset=0, total=total)
        if part.complete:
            return
        async for piece in self._objects.read(digest, part.received, total):
            part = await self._cache.put_part(digest, piece, offset=part.received, total=total)
            if part.complete:
                return
        await self._cache.drop_part(digest)
        raise IntegrityError(f"the store has {part.received} of the {total} bytes of {digest}", hash=digest)

    # --- what there is -----------------------------------------------------------------------------------------------

    async def has(self, digest: str) -> bool:
        return not await self.missing([digest])

    async def missing(self, digests: Iterable[str]) -> list[str]:
        wanted = list(dict.fromkeys(check_hash(digest) for digest in digests))
        there = await together(self._stored_there(digest) for digest in wanted)
        return [digest for digest, known in zip(wanted, there, strict=True) if not known]

    async def _stored_there(self, digest: str) -> bool:
        if digest == EMPTY_TREE:
            return True
        async with self._slots:
            return digest not in self._damaged and await self._objects.stat(digest) is not None

    async def delete(self, digest: str) -> bool:
        check_hash(digest)
        if digest == EMPTY_TREE:
            return False
        deleted = await self._objects.delete(digest)
        await self._cache.delete(digest)
        return deleted

    async def stored(self, *, unused_for_s: float = 0) -> AsyncIterator[StoredBlob]:
        latest = time.time() - unused_for_s
        async for blob in self._objects.stored():
            if blob.used_at <= latest:
                yield blob

    async def sweep(self, older_than_s: float = 24 * 3600) -> int:
        return await self._cache.sweep(older_than_s) + await self._objects.sweep(older_than_s)

    async def aclose(self) -> None:
        """Give up what is on its way; what has arrived stays. Harmless twice."""
        tasks = set(self._coming.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- the cache's bound -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _pin(self, digest: str) -> AsyncIterator[None]:
        """Meanwhile it stays in the cache."""
        self._pinned[digest] += 1
        try:
            yield
        finally:
            self._pinned[digest] -= 1
            if not self._pinned[digest]:
                del self._pinned[digest]

    async def _count(self, size: int) -> None:
        """So much came into the cache. Each tenth of its bound it is looked through."""
        self._brought_bytes += size
        if self._brought_bytes < self._store.cache_bytes // 10:
            return
        self._brought_bytes = 0
        kept = [blob async for blob in self._cache.stored()]
        excess = sum(blob.size for blob in kept) - self._store.cache_bytes
        for blob in sorted(kept, key=lambda blob: blob.used_at):
            if excess <= 0:
                return
            if blob.hash not in self._pinned:
                await self._cache.delete(blob.hash)
                excess -= blob.size
