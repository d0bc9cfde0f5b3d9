"""A tree as a directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from box_agent.files.cache import BlobCache, write_all
from box_agent.files.limits import Count, TreeLimits
from box_agent.files.manifest import Manifest, stamp
from box_agent.files.memory import TreeMemory
from schemas.errors import IntegrityError
from schemas.tree import TreeEntry, decode_tree

Fetch = Callable[[list[str]], Awaitable[dict[str, bytes]]]
"""Gets blobs from where they all are: hashes → bytes of each, but for what it has put into the cache itself.

Raises `BlobNotFound` for one that is nowhere.
"""

_STREAMED_BYTES: Final = 8 * 1024 * 1024
"""Larger files are copied in pieces and never in memory as a whole."""
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Materialiser:
    """Writes trees into directories, from the cache and, for what is not there, through ``fetch``.

    Every directory is new and every file is created with ``O_EXCL``, and names were checked when the tree was decoded,
    so no entry of a tree can make a write land outside. A tree costs one fetch for each level of directories and one
    for all missing files, however many there are; what an earlier tree had too is not even read again.
    """

    def __init__(self, cache: BlobCache, fetch: Fetch, limits: TreeLimits | None = None) -> None:
        self._cache = cache
        self._fetch = fetch
        self._limits = limits or TreeLimits()
        self._memory = TreeMemory()

    async def write(self, tree: str, directory: Path) -> Manifest:
        """Makes ``directory`` (which must not exist, or be empty) hold exactly ``tree``.

        What is damaged in the cache, or was pruned meanwhile, is fetched again. Raises `IntegrityError` for bytes that
        are not what their hash says and `PayloadTooLarge` at a limit; what was written until then is the caller's to
        remove.
        """
        plan = await self._plan(tree)
        await self._have([e.hash for _, e in plan if e.kind != "dir"])
        manifest, done, lost = Manifest(tree), 0, ""
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        while True:
            before = lost
            done, lost = await asyncio.to_thread(self._lay_out, plan, done, str(directory), manifest)
            if not lost:
                return manifest
            if lost == before:
                raise _lost(lost)
            await self._have([lost])

    async def _plan(self, tree: str) -> list[tuple[str, TreeEntry]]:
        """Every entry with its path, parents before children."""
        count = Count(self._limits, f"tree {tree[:12]}")
        plan: list[tuple[str, TreeEntry]] = []
        level: list[tuple[str, str]] = [("", tree)]
        depth = 0
        while level:
            count.enter(depth)
            await self._have([digest for _, digest in level if self._memory.tree(digest) is None])
            below: list[tuple[str, str]] = []
            for folder, digest in level:
                for name, entry in self._entries(digest).items():
                    path = f"{folder}/{name}" if folder else name
                    count.add(entry.size if entry.kind == "file" else 0)
                    plan.append((path, entry))
                    if entry.kind == "dir":
                        below.append((path, entry.hash))
            level = below
            depth += 1
        return plan

    async def _have(self, digests: list[str]) -> None:
        missing = [d for d in dict.fromkeys(digests) if self._memory.blob(d) is None and not self._cache.has(d)]
        if missing:
            for digest, data in (await self._fetch(missing)).items():
                self._cache.put(data, expected=digest)

    def _lay_out(self, plan: list[tuple[str, TreeEntry]], start: int, top: str, manifest: Manifest) -> tuple[int, str]:
        """Make what ``plan`` has from ``start`` on: how far it came, and the blob that it lacks, empty at the end."""
        for number in range(start, len(plan)):
            path, entry = plan[number]
            target = f"{top}/{path}"  # plain strings: this is the hot path of a spawn
            if entry.kind == "dir":
                os.mkdir(target, 0o755)  # noqa: PTH102
                continue
            if entry.kind == "file" and entry.size > _STREAMED_BYTES:
                status = self._copy(entry, target)
            elif (data := self._read(entry.hash)) is None:
                status = None
            elif entry.kind == "symlink":
                os.symlink(os.fsdecode(data), target)  # noqa: PTH211
                status = os.lstat(target)
            else:
                status = _write(target, data, entry.mode)
            if status is None:
                return number, entry.hash
            manifest.known[path] = (stamp(status), entry)
        return len(plan), ""

    def _copy(self, entry: TreeEntry, target: str) -> os.stat_result | None:
        fd = os.open(target, _NEW, 0o755 if entry.mode & 0o111 else 0o644)
        try:
            if self._cache.copy(entry.hash, fd):
                return os.fstat(fd)
        finally:
            os.close(fd)
        os.unlink(target)  # noqa: PTH108 - half of it, or bytes that are not its own
        return None

    def _entries(self, digest: str) -> dict[str, TreeEntry]:
        entries = self._memory.tree(digest)
        if entries is None:
            if (data := self._read(digest)) is None:
                raise _lost(digest)
            entries = decode_tree(data)
            self._memory.keep_tree(digest, entries)
        return entries

    def _read(self, digest: str) -> bytes | None:
        data = self._memory.blob(digest)
        if data is None and (data := self._cache.get(digest)) is not None:
            self._memory.keep_blob(digest, data)
        return data


def _lost(digest: str) -> IntegrityError:
    return IntegrityError(f"blob {digest} is damaged or was pruned while it was needed", blob=digest)


def _write(target: str, data: bytes, mode: int) -> os.stat_result:
    fd = os.open(target, _NEW, 0o755 if mode & 0o111 else 0o644)
    try:
        write_all(fd, data)
        return os.fstat(fd)
    finally:
        os.close(fd)
