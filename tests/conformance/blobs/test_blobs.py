"""What every blob store promises, wherever it keeps the bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from context_store.trees import Trees
from schemas.errors import BlobNotFound, IntegrityError, InvalidInput, PayloadTooLarge, StoreUnavailable
from schemas.tree import EMPTY_TREE, blob_hash, decode_tree
from tests.conformance.blobs.places import MAX_BLOB

DATA = random.Random(1).randbytes(2_700_001)  # more than a window of chunks


async def chunks(data: bytes, size: int = 700_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
async def test_put_here_and_get_elsewhere(blobs, elsewhere, data):
    digest = await blobs.put(data)
    assert digest == blob_hash(data)
    assert await blobs.get(digest) == data
    assert await elsewhere.has(digest)
    assert await elsewhere.size(digest) == len(data)
    assert await elsewhere.get(digest) == data
    assert await elsewhere.put_stream(chunks(data)) == (digest, len(data))
    assert b"".join([c async for c in elsewhere.open(digest, 65_536)]) == data


async def test_the_empty_tree_is_always_there(blobs):
    assert decode_tree(await blobs.get(EMPTY_TREE)) == {}
    assert await blobs.missing([EMPTY_TREE]) == []
    assert await blobs.put(await blobs.get(EMPTY_TREE)) == EMPTY_TREE
    assert await blobs.delete(EMPTY_TREE) is False
    assert await blobs.size(EMPTY_TREE) == len(await blobs.get(EMPTY_TREE))
    assert [b async for b in blobs.stored()] == []


@pytest.mark.parametrize(("offset", "limit"), [(0, None), (2_699_990, 100), (1_500_000, 1), (2_700_001, 5), (7, 0)])
async def test_ranges(blobs, elsewhere, offset, limit):
    digest = await blobs.put(DATA)
    assert await elsewhere.read(digest, offset, limit) == DATA[offset : None if limit is None else offset + limit]


async def test_what_is_absent(blobs, elsewhere):
    absent = blob_hash(b"absent")
    for reading in (blobs.get(absent), blobs.read(absent), blobs.size(absent), blobs.get_many([absent])):
        with pytest.raises(BlobNotFound):
            await reading
    present = await blobs.put(b"present")
    assert await elsewhere.missing([absent, present, absent, EMPTY_TREE]) == [absent]
    assert await elsewhere.delete(absent) is False
    assert await elsewhere.delete(present) is True
    assert await blobs.has(present) is False
    assert await blobs.put(b"present") == present
    assert await elsewhere.get(present) == b"present"


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 64 + "\n", "a/" * 32])
async def test_only_hashes_are_names(blobs, digest):
    for operation in (blobs.get(digest), blobs.missing([digest]), blobs.delete(digest), blobs.size(digest)):
        with pytest.raises(InvalidInput):
            await operation


async def test_many_at_once(blobs, elsewhere):
    several = [f"blob {n}".encode() for n in range(40)]
    puts = [blobs.put_many(several), elsewhere.put_many(several), *(store.put(DATA) for store in (blobs, elsewhere))]
    await asyncio.gather(*puts)
    assert await elsewhere.get_many([blob_hash(data) for data in several]) == several
    assert await blobs.put_many([]) == []
    assert {b.hash async for b in blobs.stored()} == {blob_hash(data) for data in [*several, DATA]}


async def test_size_limit(blobs):
    big = b"x" * (MAX_BLOB + 1)
    for putting in (blobs.put(big), blobs.put_stream(chunks(big)), blobs.put_many([b"", big])):
        with pytest.raises(PayloadTooLarge):
            await putting
    assert not await blobs.has(blob_hash(big))


async def test_a_stream_that_fails_leaves_nothing(blobs):
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise RuntimeError("the sender died")

    with pytest.raises(RuntimeError):
        await blobs.put_stream(broken())
    assert [b async for b in blobs.stored()] == []


async def test_pieces(blobs, elsewhere):
    digest, received = blob_hash(DATA), 0
    while received < len(DATA):
        piece = DATA[max(0, received - 10) : received + 900_001]
        result = await blobs.put_part(digest, piece, offset=max(0, received - 10), total=len(DATA))
        received = result.received
        assert result.complete == (received == len(DATA)) == await elsewhere.has(digest)
    assert await elsewhere.get(digest) == DATA
    with pytest.raises(IntegrityError):
        await blobs.put_part(blob_hash(b"other"), b"wrong", offset=0, total=5)
    with pytest.raises(InvalidInput) as hole:
        await blobs.put_part(blob_hash(b"other"), b"r", offset=4, total=5)
    assert hole.value.details["received"] == 0


async def test_stored_says_what_was_not_used_lately(blobs, elsewhere):
    old = await blobs.put(b"old")
    (first,) = [b async for b in blobs.stored()]
    assert (first.hash, first.size) == (old, 3)
    assert [b async for b in elsewhere.stored(unused_for_s=60)] == []
    await asyncio.sleep(0.02)  # the clock of a file system ticks every few milliseconds
    await elsewhere.put(b"old")
    (then,) = [b async for b in blobs.stored()]
    assert then.used_at > first.used_at, "one that is put again is in use"


async def test_pieces_that_nobody_continues_are_swept(blobs):
    kept = await blobs.put(DATA)
    digest = blob_hash(b"ab")
    await blobs.put_part(digest, b"a", offset=0, total=2)
    assert await blobs.sweep() == 0, "it is young"
    assert await blobs.sweep(0) == 1
    assert await blobs.sweep(0) == 0
    assert (await blobs.put_part(digest, b"", offset=0, total=2)).received == 0
    assert await blobs.get(kept) == DATA


async def test_tenants_do_not_share(open_store, tenant):
    async with open_store() as store:
        digest = await store.tenant(tenant).put(b"secret")
        other = store.tenant(f"{tenant}-b")
        assert await other.missing([digest]) == [digest]
        with pytest.raises(BlobNotFound):
            await other.get(digest)
        with pytest.raises(InvalidInput):
            store.tenant("../a")


async def test_closed(open_store, tenant):
    store = open_store()
    async with store:
        blobs = store.tenant(tenant)
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await blobs.put(b"")


async def test_trees_are_read_elsewhere(blobs, elsewhere):
    files = {f"deep/{n}/file": str(n).encode() for n in range(30)}
    tree = await Trees(blobs).put_files(EMPTY_TREE, files)
    there = Trees(elsewhere)
    assert {path: await there.read_file(tree, path) async for path, _ in there.walk(tree)} == files
