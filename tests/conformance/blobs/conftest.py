"""Every test here runs once per place where blobs may be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from context_store.blobs import BlobStore
from context_store.blobs.cached import CachedBlobs
from context_store.blobs.directory import DirectoryBlobs
from tests.conformance.blobs.places import MAX_BLOB, SHARED, Servers, shared_objects


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    running = Servers(tmp_path_factory.mktemp("nats"))
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(params=["directory", *SHARED])
def open_store(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Callable[[], BlobStore]:
    """Opens stores over the same blobs; each of the shared ones is a machine with a cache of its own."""
    if request.param == "directory":
        return lambda: DirectoryBlobs(tmp_path / "blobs", max_blob_bytes=MAX_BLOB)
    new_objects = shared_objects(request.param, servers, tmp_path)
    numbers = itertools.count()

    def new() -> BlobStore:
        cache = DirectoryBlobs(tmp_path / f"cache-{next(numbers)}", max_blob_bytes=MAX_BLOB)
        return CachedBlobs(new_objects(), cache, refresh_s=0)

    return new


@pytest.fixture
async def blobs(open_store, tenant):
    async with open_store() as store:
        yield store.tenant(tenant)


@pytest.fixture
async def elsewhere(open_store, tenant):
    """The same blobs as another machine has them."""
    async with open_store() as store:
        yield store.tenant(tenant)


@pytest.fixture(params=SHARED)
async def objects(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, tenant: str):
    async with AsyncExitStack() as exits:
        store = await exits.enter_async_context(shared_objects(request.param, servers, tmp_path)())
        yield store.tenant(tenant)
