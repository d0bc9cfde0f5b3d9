"""Objects wherever fsspec reaches: ``<url>/<tenant>/ab/<hash>`` in a bucket of S3, or in a directory of a network.

The calls of fsspec that block run in threads of this store.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from context_store.blobs.objects import Objects, ObjectStore
from context_store.blobs.port import StoredBlob
from schemas.errors import BlobNotFound, InvalidInput, StoreUnavailable
from schemas.ids import check_name

T = TypeVar("T")

_ATOMIC: Final = {"s3", "s3a", "gs", "gcs", "abfs", "az", "oss"}
"""Protocols whose upload is one step: elsewhere a file is written beside and moved into place."""
_TIMES: Final = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_PIECE_BYTES: Final = 4 * 1024 * 1024


class FilesystemStore(ObjectStore):
    """``url`` and ``options`` are fsspec's: ``FilesystemStore("s3://bucket/blobs", endpoint_url=…)``.

    One call may take ``timeout_s``; it cannot be taken back, so its thread may be busy for longer.
    """

    def __init__(self, url: str, *, threads: int = 16, timeout_s: float = 300.0, **options: Any) -> None:
        self.scheme = urlsplit(url).scheme
        self.timeout_s = timeout_s
        self.fs: Any = None
        self.root = ""
        self._url = url
        self._options = options
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="objects")
        self._closed = False

    async def open(self) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise InvalidInput(f"blobs at {self._url} need fsspec: pip install 'boxhub[hub]'") from error
        try:
            # Listings that are remembered would hide what other machines store.
            self.fs, self.root = url_to_fs(
                self._url, use_listings_cache=False, skip_instance_cache=True, **self._options
            )
        except (ImportError, ValueError) as error:
            cure = " (pip install 'boxhub[s3]')" if self.scheme.startswith("s3") else ""
            raise InvalidInput(f"no blobs at {self._url}: {error}{cure}") from error

    def tenant(self, tenant: str) -> FilesystemObjects:
        return FilesystemObjects(self, check_name(tenant, "tenant"))

    async def run(self, work: Callable[[], T]) -> T:
        """Run it in a thread. Raises `StoreUnavailable`; what says that a file is absent passes."""
        if self._closed or self.fs is None:
            raise StoreUnavailable(f"{self._url} is not open")
        try:
            async with asyncio.timeout(self.timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except FileNotFoundError:
            raise
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._url} did not answer within {self.timeout_s:g} s") from error
        except Exception as error:  # each of fsspec's file systems has errors of its own
            raise StoreUnavailable(f"{self._url}: {type(error).__name__}: {error}") from error

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)


class FilesystemObjects(Objects):
    def __init__(self, store: FilesystemStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def stat(self, name: str) -> StoredBlob | None:
        try:
            found = await self._store.run(lambda: self._store.fs.info(self._path(name)))
        except FileNotFoundError:
            return None
        return _stored(name, found)

    async def write(self, name: str, source: Path) -> None:
        await self._store.run(lambda: self._write(source, self._path(name)))

    async def touch(self, name: str) -> bool:
        return False  # fsspec's touch empties files on some, and object stores have none

    async def read(self, name: str, offset: int, size: int) -> AsyncIterator[bytes]:
        path = self._path(name)
        while offset < size:
            end = min(size, offset + _PIECE_BYTES)
            try:
                piece: bytes = await self._store.run(partial(self._store.fs.cat_file, path, start=offset, end=end))
            except FileNotFoundError:
                raise BlobNotFound(f"no blob {name}", hash=name) from None
            if not piece:
                return
            yield piece
            offset += len(piece)

    async def delete(self, name: str) -> bool:
        if await self.stat(name) is None:
            return False
        try:
            await self._store.run(lambda: self._store.fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return False
        return True

    async def stored(self) -> AsyncIterator[StoredBlob]:
        for first in range(256):
            for entry in await self._listed(f"{first:02x}"):
                yield _stored(entry["name"].rpartition("/")[2], entry)

    async def sweep(self, older_than_s: float) -> int:
        latest, swept = time.time() - older_than_s, 0
        for entry in await self._listed("incoming"):
            if _used_at(entry) <= latest:
                with contextlib.suppress(FileNotFoundError):
                    await self._store.run(partial(self._store.fs.rm_file, entry["name"]))
                    swept += 1
        return swept

    async def _listed(self, folder: str) -> list[dict[str, Any]]:
        path = f"{self._store.root}/{self._tenant}/{folder}"
        try:
            found: list[dict[str, Any]] = await self._store.run(lambda: self._store.fs.ls(path, detail=True))
        except FileNotFoundError:
            return []
        return [entry for entry in found if entry["type"] == "file"]

    def _path(self, name: str) -> str:
        return f"{self._store.root}/{self._tenant}/{name[:2]}/{name}"

    def _write(self, source: Path, path: str) -> None:
        fs = self._store.fs
        if self._store.scheme in _ATOMIC:
            fs.put_file(str(source), path)
            return
        incoming = f"{self._store.root}/{self._tenant}/incoming"
        beside = f"{incoming}/{secrets.token_hex(8)}"
        fs.makedirs(incoming, exist_ok=True)
        try:
            fs.put_file(str(source), beside)
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            fs.mv(beside, path)
        except BaseException:
            if fs.exists(beside):
                fs.rm_file(beside)
            raise


def _stored(name: str, info: dict[str, Any]) -> StoredBlob:
    return StoredBlob(name, int(info["size"]), _used_at(info))


def _used_at(info: dict[str, Any]) -> float:
    for key in _TIMES:
        value = info.get(key)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return time.time()  # a store without times: nothing in it is ever old
