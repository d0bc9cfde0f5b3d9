"""The context store that the settings ask for."""

from __future__ import annotations

from context_store.backend import Backend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore
from hub.config import HubSettings


def make_store(settings: HubSettings) -> ContextStore:
    """Not yet opened. A MongoDB driver is imported only where one is used."""
    blobs = DirectoryBlobs(settings.blobs_dir, max_blob_bytes=settings.limits.blob_bytes)
    return ContextStore(_backend(settings), blobs)


def _backend(settings: HubSettings) -> Backend:
    if (path := settings.sqlite_path) is not None:
        from context_store.backends.sqlite import SqliteBackend

        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return SqliteBackend(path)
    from context_store.backends.mongodb import MongoBackend

    return MongoBackend(settings.store_url, settings.database)
