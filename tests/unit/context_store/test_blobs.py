"""Blobs in a directory."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from context_store.blobs.directory import DirectoryBlobs
from schemas.errors import BlobNotFound, IntegrityError, InvalidInput, PayloadTooLarge, StoreUnavailable
from schemas.tree import EMPTY_TREE, blob_hash, decode_tree

DATA = random.Random(1).randbytes(300_000)


def file_of(tmp_path: Path, digest: str) -> Path:
    (found,) = tmp_path.glob(f"blobs/default/*/*/{digest}")
    return found


def leftovers(tmp_path: Path) -> list[str]:
    return [p.name for p in tmp_path.glob("blobs/*/incoming/*")]


async def chunks(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
async def test_put_and_get(blobs, data):
    digest = await blobs.put(data)
    assert digest == blob_hash(data)
    assert await blobs.get(digest) == data
    assert await blobs.size(digest) == len(data)
    assert await blobs.has(digest)
    assert await blobs.put_stream(chunks(data)) == (digest, len(data))
    assert b"".join([c async for c in blobs.open(digest, 65_536)]) == data


async def test_the_empty_tree_is_always_there(blobs, tmp_path):
    assert decode_tree(await blobs.get(EMPTY_TREE)) == {}
    assert await blobs.read(EMPTY_TREE, 1, 3) == (await blobs.get(EMPTY_TREE))[1:4]
    assert await blobs.size(EMPTY_TREE) == len(await blobs.get(EMPTY_TREE))
    assert await blobs.missing([EMPTY_TREE]) == []
    assert await blobs.put(await blobs.get(EMPTY_TREE)) == EMPTY_TREE
    assert await blobs.delete(EMPTY_TREE) is False
    assert await blobs.get(EMPTY_TREE)


@pytest.mark.parametrize(("offset", "limit"), [(0, None), (0, 10), (299_990, 100), (150_000, 1), (300_000, 5), (7, 0)])
async def test_ranges(blobs, offset, limit):
    digest = await blobs.put(DATA)
    expected = DATA[offset:] if limit is None else DATA[offset : offset + limit]
    assert await blobs.read(digest, offset, limit) == expected


async def test_what_is_absent(blobs):
    absent = blob_hash(b"absent")
    for reading in (blobs.get(absent), blobs.read(absent), blobs.size(absent), blobs.get_many([absent])):
        with pytest.raises(BlobNotFound):
            await reading
    assert await blobs.has(absent) is False
    present = await blobs.put(b"present")
    assert await blobs.missing([absent, present, absent, EMPTY_TREE]) == [absent]
    assert await blobs.delete(absent) is False
    assert await blobs.delete(present) is True
    assert await blobs.has(present) is False


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "a/" * 32])
async def test_only_hashes_become_paths(blobs, digest):
    for operation in (blobs.get(digest), blobs.missing([digest]), blobs.delete(digest), blobs.size(digest)):
        with pytest.raises(InvalidInput):
            await operation
    with pytest.raises(InvalidInput):
        await blobs.put_part(digest, b"", offset=0, total=0)


@pytest.mark.parametrize(
    "damage", [b"", b"other bytes", DATA[:-1], DATA[:-1] + b"\0"], ids=["empty", "other", "short", "bit"]
)
async def test_damage_is_noticed_and_mended_by_the_next_put(blobs, tmp_path, damage):
    digest = await blobs.put(DATA)
    assert await blobs.read(digest, 0, 5) == DATA[:5]
    file = file_of(tmp_path, digest)
    file.chmod(0o600)
    file.write_bytes(damage)
    for reading in (blobs.get(digest), blobs.read(digest, 0, 5), blobs.get_many([digest])):
        with pytest.raises(IntegrityError):
            await reading
    await blobs.put(DATA)
    assert await blobs.get(digest) == DATA
    assert await blobs.read(digest, 0, 5) == DATA[:5]


async def test_many_put_the_same_at_once(blobs, tmp_path):
    puts = [blobs.put(DATA) for _ in range(20)] + [blobs.put_stream(chunks(DATA)) for _ in range(20)]
    await asyncio.gather(*puts)
    assert await blobs.get(blob_hash(DATA)) == DATA
    assert leftovers(tmp_path) == []
    assert [b.hash async for b in blobs.stored()] == [blob_hash(DATA)]


async def test_size_limit(blobs, tmp_path):
    big = b"x" * 1_000_001
    for putting in (blobs.put(big), blobs.put_stream(chunks(big)), blobs.put_many([b"", big])):
        with pytest.raises(PayloadTooLarge) as refused:
            await putting
        assert refused.value.details["limit_bytes"] == 1_000_000
    with pytest.raises(PayloadTooLarge):
        await blobs.put_part(blob_hash(big), b"x", offset=0, total=len(big))
    assert leftovers(tmp_path) == []


async def test_a_stream_that_fails_leaves_nothing(blobs, tmp_path):
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise RuntimeError("the sender died")

    with pytest.raises(RuntimeError):
        await blobs.put_stream(broken())
    never = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"a"
        started.set()
        await never.wait()

    started = asyncio.Event()
    task = asyncio.ensure_future(blobs.put_stream(endless()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers(tmp_path) == []
    assert [b async for b in blobs.stored()] == []


# --- pieces ---------------------------------------------------------------------------------------------------------


async def test_pieces_in_order(blobs, tmp_path):
    digest, received = blob_hash(DATA), 0
    while received < len(DATA):
        result = await blobs.put_part(digest, DATA[received : received + 100_001], offset=received, total=len(DATA))
        received = result.received
        assert result.complete == (received == len(DATA)) == await blobs.has(digest)
    assert await blobs.get(digest) == DATA
    assert leftovers(tmp_path) == []
    again = await blobs.put_part(digest, DATA[:10], offset=0, total=len(DATA))
    assert (again.complete, again.received) == (True, len(DATA))


async def test_pieces_may_repeat_and_overlap_but_not_leave_holes(blobs):
    digest = blob_hash(DATA)
    assert (await blobs.put_part(digest, DATA[:1000], offset=0, total=len(DATA))).received == 1000
    assert (await blobs.put_part(digest, DATA[:1000], offset=0, total=len(DATA))).received == 1000
    assert (await blobs.put_part(digest, DATA[500:1500], offset=500, total=len(DATA))).received == 1500
    with pytest.raises(InvalidInput) as hole:
        await blobs.put_part(digest, DATA[1600:], offset=1600, total=len(DATA))
    assert hole.value.details["received"] == 1500
    assert (await blobs.put_part(digest, DATA[1500:], offset=1500, total=len(DATA))).complete
    assert await blobs.get(digest) == DATA


async def test_wrong_pieces_are_dropped(blobs, tmp_path):
    digest = blob_hash(DATA)
    with pytest.raises(IntegrityError):
        await blobs.put_part(digest, DATA[::-1], offset=0, total=len(DATA))
    assert leftovers(tmp_path) == []
    assert (await blobs.put_part(digest, DATA, offset=0, total=len(DATA))).complete
    with pytest.raises(InvalidInput):
        await blobs.put_part(digest, b"xx", offset=0, total=1)
    with pytest.raises(InvalidInput):
        await blobs.put_part(digest, b"xx", offset=-1, total=5)


async def test_two_uploaders_of_one_blob(blobs):
    digest = blob_hash(DATA)

    async def upload() -> None:
        received = 0
        while received < len(DATA):
            piece = DATA[received : received + 7001]
            received = (await blobs.put_part(digest, piece, offset=received, total=len(DATA))).received

    await asyncio.gather(*(upload() for _ in range(4)))
    assert await blobs.get(digest) == DATA


async def test_abandoned_uploads_go_after_a_day(blobs, tmp_path):
    await blobs.put_part(blob_hash(b"ab"), b"a", offset=0, total=2)
    (part,) = tmp_path.glob("blobs/default/incoming/*")
    os.utime(part, (1, 1))
    await blobs.put_part(blob_hash(b"cd"), b"c", offset=0, total=2)
    assert leftovers(tmp_path) == [f"{blob_hash(b'cd')}.part"]


# --- life -----------------------------------------------------------------------------------------------------------


async def test_tenants_do_not_share(tmp_path):
    async with DirectoryBlobs(tmp_path) as store:
        digest = await store.tenant("a").put(b"secret")
        assert await store.tenant("b").missing([digest]) == [digest]
        with pytest.raises(BlobNotFound):
            await store.tenant("b").get(digest)
        with pytest.raises(InvalidInput):
            store.tenant("../a")


async def test_stored_lists_what_was_not_used_lately(blobs, tmp_path):
    old, young = await blobs.put(b"old"), await blobs.put(b"young")
    os.utime(file_of(tmp_path, old), (1, 1))
    assert {b.hash async for b in blobs.stored()} == {old, young}
    assert [(b.hash, b.size) async for b in blobs.stored(unused_for_s=3600)] == [(old, 3)]
    await blobs.put(b"old")
    assert [b async for b in blobs.stored(unused_for_s=3600)] == []


async def test_files_are_private(blobs, tmp_path):
    file = file_of(tmp_path, await blobs.put(b"x"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_fsync_changes_nothing_else(tmp_path):
    async with DirectoryBlobs(tmp_path, fsync=True) as store:
        blobs = store.tenant("default")
        assert await blobs.get(await blobs.put(DATA)) == DATA


async def test_closed(tmp_path):
    store = DirectoryBlobs(tmp_path)
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.tenant("default").put(b"")


async def test_a_file_system_that_refuses_is_unavailable(tmp_path):
    (tmp_path / "blobs").write_text("a file where the directory should be")
    async with DirectoryBlobs(tmp_path / "blobs") as store:
        with pytest.raises(StoreUnavailable):
            await store.tenant("default").put(b"x")
