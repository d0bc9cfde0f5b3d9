"""What the stores promise that several machines share: damage, interrupted transfers, bounds, garbage."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from context_store.blobs.cached import CachedBlobs
from context_store.blobs.directory import DirectoryBlobs
from context_store.blobs.filesystem import FilesystemObjects
from context_store.blobs.jetstream import JetStreamObjects
from context_store.blobs.objects import Objects, ObjectStore
from schemas.errors import BlobNotFound, IntegrityError
from schemas.tree import blob_hash

DATA = random.Random(1).randbytes(5_000_001)


class Given(ObjectStore):
    """A store that is open already."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def tenant(self, tenant: str) -> Objects:
        return self.objects

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...


@pytest.fixture
async def machine(objects, tmp_path):
    """``machine("a")`` is one with its own cache, over the same objects."""
    made: list[CachedBlobs] = []

    def new(name: str, objects: Objects = objects, cache_bytes: int = 100_000_000):
        made.append(CachedBlobs(Given(objects), DirectoryBlobs(tmp_path / name), cache_bytes=cache_bytes, refresh_s=0))
        return made[-1].tenant("default")

    yield new
    for store in made:
        await store.aclose()


def cached(tmp_path: Path, name: str) -> dict[str, Path]:
    return {path.name: path for path in tmp_path.glob(f"{name}/default/??/*/*")}


@pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA[:-1] + b"\0"], ids=["empty", "short", "bit"])
async def test_damage_in_the_store_is_named_and_mended_by_a_writer(objects, machine, tmp_path, damaged):
    digest = blob_hash(DATA)
    (tmp_path / "damaged").write_bytes(damaged)
    await objects.write(digest, tmp_path / "damaged")
    blobs = machine("a")
    for _ in range(2):
        with pytest.raises(IntegrityError) as caught:
            await blobs.get(digest)
        assert caught.value.details["hash"] == digest
    assert await blobs.missing([digest]) == [digest], "who has it is asked for it"
    assert not cached(tmp_path, "a")
    await blobs.put(DATA)
    assert await blobs.get(digest) == await machine("b").get(digest) == DATA


async def test_damage_in_the_cache_is_mended_from_the_store(machine, tmp_path):
    blobs = machine("a")
    digest = await blobs.put(DATA)
    cached(tmp_path, "a")[digest].write_bytes(b"rotten")
    assert await blobs.get(digest) == DATA
    cached(tmp_path, "a")[digest].write_bytes(DATA[:-1])
    assert await blobs.read(digest, 5, 5) == DATA[5:10]


class Breaking(Objects):
    """Ends each read after one piece, as a connection does that is cut, and notes where it began."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.began: list[int] = []

    def __getattr__(self, name):
        return getattr(self._objects, name)

    async def read(self, name, offset, size):
        self.began.append(offset)
        async for piece in self._objects.read(name, offset, size):
            yield piece
            raise ConnectionError("cut")

    async def stat(self, name):
        return await self._objects.stat(name)

    async def write(self, name, source):
        await self._objects.write(name, source)

    async def touch(self, name):
        return await self._objects.touch(name)

    async def delete(self, name):
        return await self._objects.delete(name)

    def stored(self):
        return self._objects.stored()

    async def sweep(self, older_than_s):
        return await self._objects.sweep(older_than_s)


async def test_what_arrived_stays(objects, machine):
    large = random.Random(2).randbytes(9_000_001)
    digest = await machine("a").put(large)
    breaking = Breaking(objects)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await machine("b", breaking).get(digest)  # a machine that was killed and came back, as its cache sees it
    assert 0 == breaking.began[0] < breaking.began[1], "the second goes on where the first was cut"
    assert await machine("b").get(digest) == large


async def test_what_an_earlier_attempt_left_damaged_is_brought_again(machine, tmp_path):
    digest = await machine("a").put(DATA)
    blobs = machine("b")
    incoming = tmp_path / "b" / "default" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{digest}.part").write_bytes(b"rotten")
    assert await blobs.get(digest) == DATA


async def test_the_cache_is_bounded(machine, tmp_path):
    everything = {}
    for number in range(12):
        data = random.Random(number).randbytes(100_000)
        everything[await machine("a").put(data)] = data
    small = machine("b", cache_bytes=500_000)
    for digest, data in everything.items():
        assert await small.get(digest) == data
    assert 1 <= len(cached(tmp_path, "b")) <= 6
    assert await small.get_many(list(everything)) == list(everything.values())


async def test_one_transfer_however_many_ask(objects, machine):
    digest = await machine("a").put(DATA)
    blobs = machine("b")
    transfers = []
    original = objects.read

    def read(name, offset, size):
        transfers.append(name)
        return original(name, offset, size)

    objects.read = read
    assert await asyncio.gather(*(blobs.get(digest) for _ in range(20))) == [DATA] * 20
    assert transfers == [digest]


async def test_reading_from_any_offset(objects, machine):
    digest = await machine("a").put(DATA)
    for offset in (0, 1, 256 * 1024, 300_000, 2_097_152, len(DATA) - 1, len(DATA)):
        assert b"".join([piece async for piece in objects.read(digest, offset, len(DATA))]) == DATA[offset:]
    with pytest.raises(BlobNotFound):
        await anext(objects.read(blob_hash(b"absent"), 0, 6))


async def leave_half(objects: Objects, file: Path) -> None:
    """What a writer leaves that is killed before its last step."""
    if isinstance(objects, JetStreamObjects):
        await objects._write_chunks(file, objects._chunks(f"{time.time_ns() // 1_000_000:x}-dead"))
    else:
        assert isinstance(objects, FilesystemObjects)
        store = objects._store
        await store.run(lambda: store.fs.makedirs(f"{store.root}/{objects._tenant}/incoming", exist_ok=True))
        await store.run(lambda: store.fs.put_file(str(file), f"{store.root}/{objects._tenant}/incoming/dead"))


async def test_writers_that_died_leave_nothing_for_ever(objects, machine, tmp_path):
    kept = await machine("a").put(DATA)
    (tmp_path / "other").write_bytes(DATA[::-1])
    await leave_half(objects, tmp_path / "other")
    assert [b.hash async for b in objects.stored()] == [kept]
    assert await objects.sweep(60) == 0, "it may still be writing"
    assert await objects.sweep(0) == 1
    assert await objects.sweep(0) == 0
    assert await machine("b").get(kept) == DATA


@pytest.mark.parametrize("turns", [0, 1, 5, 20, 50])
async def test_a_cancelled_writer_leaves_all_or_nothing(objects, tmp_path, turns):
    (tmp_path / "file").write_bytes(DATA)
    writing = asyncio.ensure_future(objects.write(blob_hash(DATA), tmp_path / "file"))
    for _ in range(turns):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    async for blob in objects.stored():
        assert b"".join([piece async for piece in objects.read(blob.hash, 0, blob.size)]) == DATA
    if isinstance(objects, JetStreamObjects):
        assert await objects.sweep(0) == 0


async def test_what_is_deleted_while_it_is_touched_does_not_come_back_empty(objects, machine, monkeypatch):
    if not isinstance(objects, JetStreamObjects):
        assert await objects.touch(blob_hash(DATA)) is False, "what cannot be touched is written again"
        return
    digest = await machine("a").put(DATA)
    publish = objects._publish_meta

    async def late(name, doc, headers):
        monkeypatch.setattr(objects, "_publish_meta", publish)
        assert await objects.delete(digest) is True
        await publish(name, doc, headers)

    monkeypatch.setattr(objects, "_publish_meta", late)
    assert await objects.touch(digest) is False
    assert await objects.stat(digest) is None
    await machine("a").put(DATA)
    assert await machine("b").get(digest) == DATA


async def test_replaced_and_deleted_while_it_is_read(objects, machine):
    digest = await machine("a").put(DATA)
    reading = objects.read(digest, 0, len(DATA))
    first = await anext(reading)
    assert await objects.delete(digest) is True
    assert await objects.delete(digest) is False
    assert await objects.touch(digest) is False
    rest: list[bytes] = []
    try:
        async for piece in reading:
            rest.append(piece)
    except BlobNotFound:
        pass
    assert DATA.startswith(first + b"".join(rest)), "less than all, never something else"
    assert await objects.stat(digest) is None
