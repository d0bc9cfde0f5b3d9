"""The port of a store that other machines reach too: bytes by name, elsewhere.

It is smaller than `Blobs`: an adapter moves whole files and verifies nothing. `CachedBlobs` makes blobs of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from context_store.blobs.port import StoredBlob


class Objects(ABC):
    """The objects of one tenant. Names are content hashes, so writing a name again writes the same bytes.

    Everything raises `StoreUnavailable` when the store does not answer in time or refuses.
    """

    @abstractmethod
    async def stat(self, name: str) -> StoredBlob | None:
        """What is there under that name."""

    @abstractmethod
    async def write(self, name: str, source: Path) -> None:
        """Store the file, in constant memory; visible as a whole or not at all, in place of what was there.

        Raises `FileNotFoundError` when ``source`` is gone.
        """

    @abstractmethod
    async def touch(self, name: str) -> bool:
        """Note that it is in use: `stat` then says so. False when this store cannot: then it is to be written again."""

    @abstractmethod
    def read(self, name: str, offset: int, size: int) -> AsyncIterator[bytes]:
        """The bytes from ``offset`` on, of ``size`` in all, in pieces of at most 4 MiB. Raises `BlobNotFound`.

        It may end early when less is stored, and gives what is stored: the reader verifies.
        """

    @abstractmethod
    async def delete(self, name: str) -> bool:
        """Remove it; False if it was absent. What is written meanwhile stays."""

    @abstractmethod
    def stored(self) -> AsyncIterator[StoredBlob]:
        """All of them, in no order."""

    @abstractmethod
    async def sweep(self, older_than_s: float) -> int:
        """Remove what writers that died left behind that long ago; how many pieces."""


class ObjectStore(ABC):
    """Objects of all tenants. Open and close it as an async context manager; closing twice is fine."""

    @abstractmethod
    def tenant(self, tenant: str) -> Objects:
        """The objects of one tenant. Raises `InvalidInput` for a bad name."""

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable`, `InvalidInput` for settings that cannot be met."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of everything."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
