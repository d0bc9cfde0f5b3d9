"""Blobs on this machine, by hash. A cache: whatever is missing can be fetched again."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from schemas.errors import IntegrityError
from schemas.tree import EMPTY_TREE, blob_hash, check_hash, encode_tree


class BlobCache:
    """One directory shared by every process of a node; writes are atomic, so readers never see half a blob."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.put(encode_tree({}))

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        check_hash(digest)
        return self.directory / digest[:2] / digest[2:]

    def has(self, digest: str) -> bool:
        """Whether it is here. Asking counts as using it, so it will not be pruned soon."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return digest == EMPTY_TREE
        return True

    def get(self, digest: str) -> bytes | None:
        """The bytes, verified; ``None`` when it is not here. A damaged one is dropped and counts as not here."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if blob_hash(data) != digest:
            self.path(digest).unlink(missing_ok=True)
            return None
        os.utime(self.path(digest))
        return data

    def put(self, data: bytes, expected: str | None = None) -> str:
        """Keeps ``data`` and returns its hash. Raises `IntegrityError` when that is not ``expected``."""
        digest = blob_hash(data)
        if expected is not None and digest != expected:
            raise IntegrityError(f"blob {expected} came with other bytes ({digest})", expected=expected)
        target = self.path(digest)
        if not target.exists():
            target.parent.mkdir(exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(name).rename(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        return digest

    def usage(self) -> tuple[int, int]:
        """How many blobs there are, and their bytes together."""
        sizes = []
        for path in self.directory.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return len(sizes), sum(sizes)

    def prune(self, budget_bytes: int) -> int:
        """Drops the least recently used blobs until at most ``budget_bytes`` are left; returns bytes freed."""
        found: list[tuple[float, int, Path]] = []
        for path in self.directory.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in found) - budget_bytes
        freed = 0
        for used_at, size, path in sorted(found):
            if freed >= excess:
                break
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime == used_at:  # nobody wanted it meanwhile
                    path.unlink()
                    freed += size
        return freed
