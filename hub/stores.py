"""The context store that the settings ask for."""

from __future__ import annotations

from context_store.backend import Backend
from context_store.blobs import BlobStore
from context_store.blobs.directory import DirectoryBlobs
from context_store.blobs.objects import ObjectStore
from context_store.store import ContextStore
from hub.config import HubSettings


def make_store(settings: HubSettings) -> ContextStore:
    """Not yet opened. A driver of a database or of an object store is imported only where it is used."""
    return ContextStore(_backend(settings), _blobs(settings))


def _blobs(settings: HubSettings) -> BlobStore:
    limit = settings.limits.blob_bytes
    if not settings.blobs_url:
        return DirectoryBlobs(settings.blobs_dir, max_blob_bytes=limit)
    from context_store.blobs.cached import CachedBlobs

    # Not ``blobs_dir``: what is in there is the only copy, and a cache is pruned.
    cache = DirectoryBlobs(settings.home / "blob-cache", max_blob_bytes=limit)
    return CachedBlobs(_objects(settings), cache, cache_bytes=settings.blob_cache_bytes)


def _objects(settings: HubSettings) -> ObjectStore:
    if settings.blobs_url.startswith("jetstream:"):
        from context_store.blobs.jetstream import JetStreamStore

        return JetStreamStore(settings.nats_url, replicas=settings.blob_replicas, timeout_s=settings.connect_timeout_s)
    from context_store.blobs.filesystem import FilesystemStore

    return FilesystemStore(settings.blobs_url)


def _backend(settings: HubSettings) -> Backend:
    if (path := settings.sqlite_path) is not None:
        from context_store.backends.sqlite import SqliteBackend

        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return SqliteBackend(path)
    from context_store.backends.mongodb import MongoBackend

    return MongoBackend(settings.store_url, settings.database)
