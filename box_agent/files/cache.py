"""Blobs on this machine, by hash. A cache: whatever is missing can be fetched again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from schemas.errors import IntegrityError
from schemas.tree import EMPTY_TREE, blob_hash, check_hash, encode_tree

_PIECE_BYTES: Final = 1 << 20


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

    def copy(self, digest: str, descriptor: int) -> bool:
        """Write the bytes to an open file, in constant memory. False, perhaps after some, for one damaged or absent."""
        try:
            with self.path(digest).open("rb") as file:
                found = hashlib.sha256()
                while piece := file.read(_PIECE_BYTES):
                    found.update(piece)
                    write_all(descriptor, piece)
        except FileNotFoundError:
            return False
        if found.hexdigest() != digest:
            self.path(digest).unlink(missing_ok=True)
            return False
        return True

    # --- one that comes in pieces ------------------------------------------------------------------------------------

    def received(self, digest: str) -> int:
        """Bytes of it that came and are kept, also by an earlier process."""
        try:
            return self._part(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, digest: str, piece: bytes) -> None:
        """Keep the next piece. One writer at a time."""
        part = self._part(digest)
        part.parent.mkdir(exist_ok=True, mode=0o700)
        descriptor = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, piece)
        finally:
            os.close(descriptor)

    def finish(self, digest: str) -> None:
        """All pieces came. Raises `IntegrityError`, and keeps nothing, when they are not what the hash says."""
        part = self._part(digest)
        part.parent.mkdir(exist_ok=True, mode=0o700)
        part.touch(0o600)  # of no bytes no piece came
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            part.unlink(missing_ok=True)
            raise IntegrityError(f"blob {digest} came with other bytes ({found})", expected=digest)
        part.rename(self.path(digest))

    def drop(self, digest: str) -> None:
        """Forget what came of it."""
        self._part(digest).unlink(missing_ok=True)

    def _part(self, digest: str) -> Path:
        path = self.path(digest)
        return path.with_name(f".part-{path.name}")

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


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
