"""Blobs on this machine: from the cache, else from the hub, once however many ask at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from box_agent.context.blobs import BlobClient
from box_agent.files.cache import BlobCache

_PARALLEL: Final = 8


class NodeBlobs:
    """Implements `box_agent.driver.Blobs`, and `Fetch` for laying out trees. Closed with `aclose`."""

    def __init__(self, cache: BlobCache, client: BlobClient) -> None:
        self.cache = cache
        self._client = client
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._coming: dict[str, asyncio.Task[bytes]] = {}

    async def path(self, digest: str) -> Path:
        """A local file with exactly these bytes. Raises `BlobNotFound`, `Unavailable`, `InvalidInput`."""
        path = self.cache.path(digest)
        if not self.cache.has(digest):
            await asyncio.shield(self._start(digest))
        return path

    async def get_many(self, digests: list[str]) -> dict[str, bytes]:
        """The bytes of each, eight on their way at once; raises for the first that cannot be had."""
        coming = {digest: self._start(digest) for digest in digests}
        return {digest: await asyncio.shield(task) for digest, task in coming.items()}

    async def aclose(self) -> None:
        """Give up what is on its way. Harmless twice."""
        tasks = set(self._coming.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, digest: str) -> asyncio.Task[bytes]:
        """Shared: one that waits no longer must not take it from the others."""
        task = self._coming.get(digest)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._get(digest), name=f"blob {digest[:12]}")
            self._coming[digest] = task
            task.add_done_callback(lambda done: self._forget(digest, done))
        return task

    async def _get(self, digest: str) -> bytes:
        async with self._slots:
            data = await self._client.get(digest)
        await asyncio.to_thread(self.cache.put, data, digest)
        return data

    def _forget(self, digest: str, done: asyncio.Task[bytes]) -> None:
        del self._coming[digest]
        if not done.cancelled():
            done.exception()  # seen: whoever waited has got it
