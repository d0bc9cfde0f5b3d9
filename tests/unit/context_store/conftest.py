from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from context_store.blobs.directory import DirectoryBlobs, DirectoryTenantBlobs
from context_store.trees import Trees


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[DirectoryTenantBlobs]:
    async with DirectoryBlobs(tmp_path / "blobs", max_blob_bytes=1_000_000) as store:
        yield store.tenant("default")


@pytest.fixture
def trees(blobs: DirectoryTenantBlobs) -> Trees:
    return Trees(blobs)
