"""Files that are not the tree's, bounded memory, and one hash for one tree on both sides."""

from __future__ import annotations

import os
from pathlib import Path

from box_agent.files.cache import BlobCache
from box_agent.files.manifest import stamp
from box_agent.files.memory import TreeMemory
from box_agent.files.scan import scan
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore
from schemas.tree import EMPTY_TREE, blob_hash


def _write(top: Path, *paths: str) -> None:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)


def test_what_others_laid_there_is_left_out_until_it_changes(tmp_path: Path) -> None:
    _write(tmp_path, "mine/a.txt")
    before = scan(tmp_path).tree
    laid = ["tool.txt", "kit/saw.txt", "mine/tool.txt"]
    _write(tmp_path, *laid)
    apart = {path: stamp((tmp_path / path).lstat()) for path in laid}
    assert scan(tmp_path, apart=apart).tree == before
    (tmp_path / "tool.txt").write_text("bent")
    changed = scan(tmp_path, apart=apart)
    assert set(changed.manifest.known) == {"mine/a.txt", "tool.txt"}
    assert scan(tmp_path).tree not in (before, changed.tree)


async def test_the_store_and_a_scan_make_the_same_tree_of_the_same_files(tmp_path: Path) -> None:
    paths = ["a.txt", "deep/er/b.txt", "deep/c.txt", "deep/er/still/d.txt"]
    _write(tmp_path / "files", *paths)
    async with ContextStore(SqliteBackend(tmp_path / "s.sqlite"), DirectoryBlobs(tmp_path / "blobs")) as store:
        made = await store.tenant("t").trees.put_files(EMPTY_TREE, {path: path.encode() for path in paths})
    assert scan(tmp_path / "files").tree == made


def test_memory_is_bounded_and_drops_what_was_not_used() -> None:
    memory = TreeMemory()
    blobs = [os.urandom(200_000) for _ in range(500)]
    for data in blobs:
        memory.keep_blob(blob_hash(data), data)
        assert memory.blob(blob_hash(blobs[0])) == blobs[0], "used all the time"
    kept = [data for data in blobs if memory.blob(blob_hash(data)) is not None]
    assert 60_000_000 < sum(map(len, kept)) <= 64 * 1024 * 1024
    large = os.urandom(1_000_000)
    memory.keep_blob(blob_hash(large), large)
    assert memory.blob(blob_hash(large)) is None


def test_asking_for_a_blob_keeps_it_from_being_pruned(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    old, new = cache.put(b"old" * 100), cache.put(b"new" * 100)
    for age, digest in enumerate((new, old)):
        os.utime(cache.path(digest), (1000 - age, 1000 - age))
    assert cache.has(old)
    assert cache.prune(400) == 300
    assert cache.has(old)
    assert not cache.has(new)
