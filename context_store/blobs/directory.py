"""Blobs as files: ``<root>/<tenant>/ab/c/<hash>``, written beside and renamed into place.

4,096 directories: few enough that new ones soon need not be made, which costs as much as the blob itself, and
enough that a million blobs are 250 to a directory. Paths are strings here: `pathlib` would take a third of a put.
"""

# ruff: noqa: PTH105, PTH108, PTH208

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from context_store.blobs.port import DEFAULT_MAX_BLOB_BYTES, Blobs, BlobStore, PartResult, StoredBlob
from schemas.errors import BlobNotFound, IntegrityError, InvalidInput, PayloadTooLarge, StoreUnavailable
from schemas.ids import check_name
from schemas.tree import EMPTY_TREE, blob_hash, check_hash, encode_tree

T = TypeVar("T")

_EMPTY_TREE_BYTES: Final = encode_tree({})
_STALE_PART_S: Final = 24 * 3600
_REMEMBERED: Final = 4096


class DirectoryBlobs(BlobStore):
    """Blobs in a directory of one machine; several processes may share it.

    ``fsync=True`` flushes each blob and its directory entry before it counts as stored, so it survives a loss of
    power; without, as with SQLite's ``NORMAL``, it survives the death of the process. ``max_blob_bytes`` bounds
    one blob (`PayloadTooLarge`). File work runs in ``threads`` threads of its own.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fsync: bool = False,
        max_blob_bytes: int = DEFAULT_MAX_BLOB_BYTES,
        threads: int = 4,
    ) -> None:
        self.path = Path(path)
        self.fsync = fsync
        self.max_blob_bytes = max_blob_bytes
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self._closed = False

    def tenant(self, tenant: str) -> DirectoryTenantBlobs:
        return DirectoryTenantBlobs(self, self.path / check_name(tenant, "tenant"))

    async def run(self, work: Callable[[], T]) -> T:
        """Run file work in a thread. Raises `StoreUnavailable` for what the file system refuses."""
        if self._closed:
            raise StoreUnavailable(f"{self.path} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error}", path=str(self.path)) from error

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.shield(asyncio.to_thread(self._pool.shutdown))


class DirectoryTenantBlobs(Blobs):
    def __init__(self, store: DirectoryBlobs, root: Path) -> None:
        self._store = store
        self._root = str(root)
        self._incoming = f"{self._root}/incoming"
        self._numbers = itertools.count()
        self._token = secrets.token_hex(8)
        # Blobs whose bytes were verified for a range read, with the file they were read from.
        self._verified: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    async def put(self, data: bytes) -> str:
        return (await self.put_many([data]))[0]

    async def put_many(self, blobs: Sequence[bytes]) -> list[str]:
        for data in blobs:
            self._check_size(len(data))
        return await self._store.run(lambda: [self._write(data) for data in blobs])

    async def put_stream(self, chunks: AsyncIterable[bytes]) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        descriptor, name = await self._store.run(self._temporary)
        published = False
        try:
            async for chunk in chunks:
                size += len(chunk)
                self._check_size(size)
                digest.update(chunk)
                await self._store.run(partial(_write_all, descriptor, chunk))
            found = digest.hexdigest()
            await self._store.run(partial(self._publish, descriptor, name, found))
            published = True
        finally:
            os.close(descriptor)
            if not published:
                _remove(name)
        return found, size

    async def put_part(self, digest: str, data: bytes, *, offset: int, total: int) -> PartResult:
        check_hash(digest)
        self._check_size(total)
        if offset < 0 or offset + len(data) > total:
            raise InvalidInput(f"bytes {offset} to {offset + len(data)} are outside of a blob of {total}")
        return await self._store.run(lambda: self._write_part(digest, data, offset, total))

    async def drop_part(self, digest: str) -> None:
        """Forget the pieces of a blob that is not whole yet."""
        check_hash(digest)
        await self._store.run(lambda: _remove(f"{self._incoming}/{digest}.part"))

    def file(self, digest: str) -> Path:
        """Where the blob is, if it is stored; for reading only."""
        return Path(self._path(check_hash(digest)))

    async def get(self, digest: str) -> bytes:
        return (await self.get_many([digest]))[0]

    async def get_many(self, digests: Sequence[str]) -> list[bytes]:
        for digest in digests:
            check_hash(digest)
        return await self._store.run(lambda: [self._read_verified(digest) for digest in digests])

    async def read(self, digest: str, offset: int = 0, limit: int | None = None) -> bytes:
        check_hash(digest)
        if offset < 0 or (limit is not None and limit < 0):
            raise InvalidInput(f"a range starts at 0 or later, not at {offset} for {limit}")
        return await self._store.run(lambda: self._read_range(digest, offset, limit))

    async def open(self, digest: str, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        offset = 0
        while chunk := await self.read(digest, offset, chunk_bytes):
            yield chunk
            offset += len(chunk)

    async def size(self, digest: str) -> int:
        check_hash(digest)
        return await self._store.run(lambda: self._size(digest))

    async def has(self, digest: str) -> bool:
        return not await self.missing([digest])

    async def missing(self, digests: Iterable[str]) -> list[str]:
        wanted = list(dict.fromkeys(check_hash(digest) for digest in digests))
        return await self._store.run(lambda: [d for d in wanted if d != EMPTY_TREE and not _is_file(self._path(d))])

    async def delete(self, digest: str) -> bool:
        check_hash(digest)
        self._verified.pop(digest, None)
        return await self._store.run(lambda: self._delete(digest))

    async def stored(self, *, unused_for_s: float = 0) -> AsyncIterator[StoredBlob]:
        latest = time.time() - unused_for_s
        for first in await self._store.run(lambda: _names(self._root)):
            if len(first) != 2:
                continue
            for blob in await self._store.run(partial(_stored_below, f"{self._root}/{first}")):
                if blob.used_at <= latest:
                    yield blob

    async def sweep(self, older_than_s: float = _STALE_PART_S) -> int:
        return await self._store.run(lambda: self._drop_stale_parts(older_than_s))

    # --- in a thread -----------------------------------------------------------------------------------------------

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest[2]}/{digest}"

    def _check_size(self, size: int) -> None:
        limit = self._store.max_blob_bytes
        if size > limit:
            raise PayloadTooLarge(f"a blob of {size} bytes; {limit} are allowed", size_bytes=size, limit_bytes=limit)

    def _temporary(self) -> tuple[int, str]:
        """A new file, and its name, beside the blobs."""
        # The process id keeps children of a fork apart, the token processes of other containers.
        name = f"{self._incoming}/{os.getpid()}-{next(self._numbers)}-{self._token}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(name, flags, 0o600), name
        except FileNotFoundError:
            os.makedirs(self._incoming, exist_ok=True)  # noqa: PTH103
            return os.open(name, flags, 0o600), name

    def _write(self, data: bytes) -> str:
        digest = blob_hash(data)
        if digest == EMPTY_TREE or self._refresh(self._path(digest), data):
            return digest
        descriptor, name = self._temporary()
        try:
            _write_all(descriptor, data)
            self._publish(descriptor, name, digest)
        except BaseException:
            _remove(name)
            raise
        finally:
            os.close(descriptor)
        return digest

    def _refresh(self, path: str, data: bytes) -> bool:
        """Note that the blob is in use. False if it is absent or damaged: then it is to be written again."""
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                if file.read() != data:
                    return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _publish(self, descriptor: int, name: str, digest: str) -> None:
        """Give the finished file its place. Replacing one that is there is harmless: it has the same bytes."""
        path = self._path(digest)
        if self._store.fsync:
            os.fsync(descriptor)
        try:
            os.replace(name, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            os.replace(name, path)
        if self._store.fsync:
            _sync_directory(os.path.dirname(path))  # noqa: PTH120

    def _write_part(self, digest: str, data: bytes, offset: int, total: int) -> PartResult:
        if digest == EMPTY_TREE or _is_file(self._path(digest)):
            return PartResult(total, True)
        os.makedirs(self._incoming, exist_ok=True)  # noqa: PTH103
        self._drop_stale_parts()
        part = f"{self._incoming}/{digest}.part"
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            received = os.fstat(descriptor).st_size
            if offset > received:
                if _is_file(self._path(digest)):  # another uploader has finished since we looked
                    _remove(part)
                    return PartResult(total, True)
                raise InvalidInput(f"the piece starts at {offset}, only {received} bytes are there", received=received)
            # Two uploaders of one blob write the same bytes to the same place.
            os.pwrite(descriptor, data, offset)
            received = os.fstat(descriptor).st_size
            if received < total:
                return PartResult(received, False)
            with os.fdopen(os.dup(descriptor), "rb") as file:
                file.seek(0)
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if received != total or found != digest:
                _remove(part)
                raise IntegrityError(f"the pieces of {digest} give {found}; send them again", hash=digest)
            try:
                self._publish(descriptor, part, digest)
            except FileNotFoundError:
                if not _is_file(self._path(digest)):  # else another uploader has published the same part
                    raise
        finally:
            os.close(descriptor)
        return PartResult(total, True)

    def _drop_stale_parts(self, older_than_s: float = _STALE_PART_S) -> int:
        """Uploads nobody has continued for so long, and files of writers that died; how many."""
        latest, dropped = time.time() - older_than_s, 0
        for name in _names(self._incoming):
            with contextlib.suppress(FileNotFoundError):
                if os.stat(f"{self._incoming}/{name}").st_mtime <= latest:  # noqa: PTH116
                    os.unlink(f"{self._incoming}/{name}")
                    dropped += 1
        return dropped

    def _read_verified(self, digest: str) -> bytes:
        if digest == EMPTY_TREE:
            return _EMPTY_TREE_BYTES
        try:
            with open(self._path(digest), "rb") as file:  # noqa: PTH123
                data = file.read()
        except FileNotFoundError:
            raise self._absent(digest) from None
        if blob_hash(data) != digest:
            raise IntegrityError(f"the stored bytes of {digest} have changed", hash=digest)
        return data

    def _read_range(self, digest: str, offset: int, limit: int | None) -> bytes:
        if digest == EMPTY_TREE:
            return _EMPTY_TREE_BYTES[offset : None if limit is None else offset + limit]
        try:
            with open(self._path(digest), "rb") as file:  # noqa: PTH123
                status = os.fstat(file.fileno())
                identity = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._verified.get(digest) != identity:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise IntegrityError(f"the stored bytes of {digest} have changed", hash=digest)
                    self._verified[digest] = identity
                    while len(self._verified) > _REMEMBERED:
                        self._verified.popitem(last=False)
                file.seek(offset)
                return file.read() if limit is None else file.read(limit)
        except FileNotFoundError:
            raise self._absent(digest) from None

    def _size(self, digest: str) -> int:
        if digest == EMPTY_TREE:
            return len(_EMPTY_TREE_BYTES)
        try:
            return os.stat(self._path(digest)).st_size  # noqa: PTH116
        except FileNotFoundError:
            raise self._absent(digest) from None

    def _delete(self, digest: str) -> bool:
        try:
            os.unlink(self._path(digest))
        except FileNotFoundError:
            return False
        return True

    def _absent(self, digest: str) -> BlobNotFound:
        return BlobNotFound(f"no blob {digest}", hash=digest)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _stored_below(directory: str) -> list[StoredBlob]:
    found = []
    for second in _names(directory):
        with contextlib.suppress(FileNotFoundError), os.scandir(f"{directory}/{second}") as entries:
            for entry in entries:
                status = entry.stat()
                found.append(StoredBlob(entry.name, status.st_size, status.st_mtime))
    return found


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
