"""Blobs on this machine: from the cache, else from the hub, once however many ask at the same time."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

from box_agent.context.blobs import CHUNK_BYTES, BlobClient
from box_agent.files.cache import BlobCache
from schemas.errors import IntegrityError, InvalidInput

_PARALLEL: Final = 8
_BATCH: Final = 64


class NodeBlobs:
    """Implements `box_agent.driver.Blobs`, and `Fetch` for laying out trees. Closed with `aclose`."""

    def __init__(self, cache: BlobCache, client: BlobClient) -> None:
        self.cache = cache
        self._client = client
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._batched: dict[str, asyncio.Task[None]] = {}

    async def path(self, digest: str) -> Path:
        """A local file with exactly these bytes. Raises `BlobNotFound`, `Unavailable`, `InvalidInput`."""
        path = self.cache.path(digest)
        if not self.cache.has(digest):
            await asyncio.shield(self._start(digest))
        return path

    async def bring(self, digests: list[str]) -> dict[str, bytes]:
        """Have all of them in the cache, eight on their way at once; raises for the first that cannot be had.

        Always empty: for `Materialiser`, which takes what it is given here from the cache as well.
        """
        if len(digests) > 1:
            for batch in self._start_batches(digests):
                await asyncio.shield(batch)
        for task in [self._start(digest) for digest in digests if not self.cache.has(digest)]:
            await asyncio.shield(task)
        return {}

    async def aclose(self) -> None:
        """Give up what is on its way. Harmless twice."""
        tasks = {*self._coming.values(), *self._batched.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start_batches(self, digests: list[str]) -> list[asyncio.Task[None]]:
        """Those of them that are small come many at a time; what is coming already is not asked for again."""
        fresh = [digest for digest in digests if digest not in self._batched and digest not in self._coming]
        for start in range(0, len(fresh), _BATCH):
            batch = fresh[start : start + _BATCH]
            task = asyncio.get_running_loop().create_task(self._get_batch(batch), name=f"{len(batch)} blobs")
            self._batched |= dict.fromkeys(batch, task)
            task.add_done_callback(partial(self._forget_batch, batch))
        return list(dict.fromkeys(self._batched[digest] for digest in digests if digest in self._batched))

    async def _get_batch(self, batch: list[str]) -> None:
        while batch:
            async with self._slots:
                answer = await self._client.get_batch(batch)
                found = {digest: data for digest, data in zip(batch, answer, strict=False) if data is not None}
                await asyncio.to_thread(self._keep, found)
            batch = batch[len(answer) :]

    def _keep(self, found: dict[str, bytes]) -> None:
        for digest, data in found.items():
            self.cache.put(data, digest)

    def _forget_batch(self, batch: list[str], done: asyncio.Task[None]) -> None:
        for digest in batch:
            del self._batched[digest]
        if not done.cancelled():
            done.exception()  # seen: whoever waited has got it

    def _start(self, digest: str) -> asyncio.Task[None]:
        """Shared: one that waits no longer must not take it from the others."""
        task = self._coming.get(digest)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._get(digest), name=f"blob {digest[:12]}")
            self._coming[digest] = task
            task.add_done_callback(lambda done: self._forget(digest, done))
        return task

    async def _get(self, digest: str) -> None:
        async with self._slots:
            try:
                await self._receive(digest)
            except (IntegrityError, InvalidInput):
                await self._receive(digest)  # what an earlier attempt left may have been damaged: it is dropped

    async def _receive(self, digest: str) -> None:
        """Bring what has not come yet, in constant memory. What came stays when it is cut off, or this process ends."""
        kept = self.cache.received(digest)
        try:
            async for piece in self._client.pieces(digest, kept):
                if not kept and len(piece) < CHUNK_BYTES:  # it is all of it: most files are small
                    await asyncio.to_thread(self.cache.put, piece, digest)
                    return
                kept += len(piece)
                await asyncio.to_thread(self.cache.append, digest, piece)
        except InvalidInput:
            await asyncio.to_thread(self.cache.drop, digest)
            raise
        await asyncio.to_thread(self.cache.finish, digest)

    def _forget(self, digest: str, done: asyncio.Task[None]) -> None:
        del self._coming[digest]
        if not done.cancelled():
            done.exception()  # seen: whoever waited has got it
