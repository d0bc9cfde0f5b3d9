"""Small blobs and decoded trees in memory: what branches of one workspace share is read and checked once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from schemas.tree import TreeEntry

_BYTES: Final = 64 * 1024 * 1024
_BLOB_BYTES: Final = 256 * 1024
_TREES: Final = 8192


class TreeMemory:
    """Bounded: the least recently used go first. Content is named by its hash, so nothing in here gets old.

    For any thread.
    """

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._trees: OrderedDict[str, dict[str, TreeEntry]] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def blob(self, digest: str) -> bytes | None:
        with self._lock:
            data = self._blobs.get(digest)
            if data is not None:
                self._blobs.move_to_end(digest)
            return data

    def keep_blob(self, digest: str, data: bytes) -> None:
        """Larger ones than 256 KiB are left to the disk."""
        with self._lock:
            if len(data) > _BLOB_BYTES or digest in self._blobs:
                return
            self._blobs[digest] = data
            self._held_bytes += len(data)
            while self._held_bytes > _BYTES:
                self._held_bytes -= len(self._blobs.popitem(last=False)[1])

    def tree(self, digest: str) -> dict[str, TreeEntry] | None:
        """Not to be changed by who gets it."""
        with self._lock:
            entries = self._trees.get(digest)
            if entries is not None:
                self._trees.move_to_end(digest)
            return entries

    def keep_tree(self, digest: str, entries: dict[str, TreeEntry]) -> None:
        with self._lock:
            self._trees[digest] = entries
            if len(self._trees) > _TREES:
                self._trees.popitem(last=False)
