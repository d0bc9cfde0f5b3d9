"""Every test here runs once per adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from context_store.backend import Backend
from context_store.backends.mongodb import MongoBackend
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore, Scope

NewBackend = Callable[[], Backend]


@pytest.fixture(params=["sqlite", "mongodb"])
async def new_backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NewBackend]:
    """Makes backends on one and the same database: a second one is what a second process would have."""
    if request.param == "sqlite":
        yield lambda: SqliteBackend(tmp_path / "store.db")
        return
    url = request.getfixturevalue("mongodb_url")
    name = f"boxhub-test-{uuid4().hex[:12]}"
    yield lambda: MongoBackend(url, name)
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(url)
    await client.drop_database(name)
    client.close()


@pytest.fixture
async def backend(new_backend: NewBackend) -> AsyncIterator[Backend]:
    async with new_backend() as backend:
        yield backend


@pytest.fixture
async def store(new_backend: NewBackend, tmp_path: Path) -> AsyncIterator[ContextStore]:
    async with ContextStore(new_backend(), DirectoryBlobs(tmp_path / "blobs"), poll_s=0.05) as store:
        yield store


@pytest.fixture
def scope(store: ContextStore) -> Scope:
    return store.tenant("default")


@pytest.fixture
async def other_store(store: ContextStore, new_backend: NewBackend, tmp_path: Path) -> AsyncIterator[ContextStore]:
    """A second store over the same data, as another process has it."""
    async with ContextStore(new_backend(), DirectoryBlobs(tmp_path / "blobs"), poll_s=0.05) as other:
        yield other
