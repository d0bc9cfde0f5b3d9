"""The port for bytes by content hash.

An adapter promises: a blob is visible as a whole or not at all; what is read has the hash it was asked for, or
`IntegrityError`; any number of writers may put the same blob at once; the empty tree is there without being put.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

DEFAULT_MAX_BLOB_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True)
class StoredBlob:
    """What `Blobs.stored` says of a blob. ``used_at``: epoch seconds of the last put, also of one that found it."""

    hash: str
    size: int
    used_at: float


@dataclass(frozen=True)
class PartResult:
    """``received``: bytes there now, which is the offset to go on from; ``complete``: verified and visible."""

    received: int
    complete: bool


class Blobs(ABC):
    """The blobs of one tenant."""

    @abstractmethod
    async def put(self, data: bytes) -> str:
        """Store the bytes; returns their hash. Raises `PayloadTooLarge`."""

    @abstractmethod
    async def put_many(self, blobs: Sequence[bytes]) -> list[str]:
        """Like `put` for each, in one go."""

    @abstractmethod
    async def put_stream(self, chunks: AsyncIterable[bytes]) -> tuple[str, int]:
        """Store what comes, in constant memory; returns hash and size. Nothing is left when the stream fails."""

    @abstractmethod
    async def put_part(self, digest: str, data: bytes, *, offset: int, total: int) -> PartResult:
        """One piece of a blob whose hash is known, in order; resumable and idempotent.

        A piece that overlaps what is there is fine, a piece beyond it is `InvalidInput` with
        ``details["received"]``. The last piece verifies the whole: `IntegrityError` drops all pieces.
        """

    @abstractmethod
    async def get(self, digest: str) -> bytes:
        """The bytes, verified. Raises `BlobNotFound`, `IntegrityError`."""

    @abstractmethod
    async def get_many(self, digests: Sequence[str]) -> list[bytes]:
        """Like `get` for each, in one go."""

    @abstractmethod
    async def read(self, digest: str, offset: int = 0, limit: int | None = None) -> bytes:
        """A range; shorter at the end. The first read of a blob verifies all of it, O(size) once."""

    @abstractmethod
    def open(self, digest: str, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """The bytes in chunks, verified before the first is given."""

    @abstractmethod
    async def size(self, digest: str) -> int:
        """Bytes in the blob. Raises `BlobNotFound`."""

    @abstractmethod
    async def has(self, digest: str) -> bool:
        """Whether the blob is there."""

    @abstractmethod
    async def missing(self, digests: Iterable[str]) -> list[str]:
        """Those that are not there, each once, in order. O(hashes); nothing is read."""

    @abstractmethod
    async def delete(self, digest: str) -> bool:
        """Remove it; False if it was absent. The empty tree stays."""

    @abstractmethod
    def stored(self, *, unused_for_s: float = 0) -> AsyncIterator[StoredBlob]:
        """All blobs not put within the last ``unused_for_s`` seconds: the candidates for garbage collection.

        A writer puts blobs before it stores the record that refers to them, so a collector must leave young ones.
        """

    @abstractmethod
    async def sweep(self, older_than_s: float = 24 * 3600) -> int:
        """Remove what writers that died, or never went on, left behind that long ago; how many pieces. O(blobs)."""


class BlobStore(ABC):
    """Blobs of all tenants. Open and close it as an async context manager; closing twice is fine."""

    @abstractmethod
    def tenant(self, tenant: str) -> Blobs:
        """The blobs of one tenant: a hash alone gives nobody another tenant's bytes."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let running operations end and release everything."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
