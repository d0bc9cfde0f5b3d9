"""A workspace that another node fetches, against the same files by tar over a socket; a blob, against nats-py's reader.

``tree_fetch``: a node's code with an empty cache lays out a tree that another node published; every file is asked for
through the hub, a process of its own, verified, cached and written. The baseline verifies nothing and keeps nothing.
``tree_fetch_again``: 1% of the files changed since the node fetched the tree; only they travel, while tar sends all.
``jetstream_read``: 64 MiB out of the object store, to a file; and ``jetstream_write``.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import nats

from benchmarks.harness import Benchmark, Row, interleave, row
from benchmarks.servers import nats_server
from benchmarks.task_roles import TENANT
from benchmarks.tasks import role
from box_agent import aio
from box_agent.agent import Agent
from box_agent.files.cache import BlobCache
from box_agent.files.materialise import Materialiser
from box_agent.files.scan import scan
from box_agent.node.blobs import NodeBlobs
from context_store.blobs.jetstream import JetStreamStore
from schemas.tree import blob_hash

FILES = 1000
FILE_BYTES = 20_000
BLOB_BYTES = 64 * 1024 * 1024
RUNS = 5
TAR = "tar over a socket"


def _fill(top: Path, seed: int) -> None:
    numbers = random.Random(seed)
    for number in range(FILES):
        path = top / f"d{number % 20}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(FILE_BYTES))


def _by_tar(source: Path, target: Path) -> None:
    """Send it through a TCP connection, as ``tar | nc`` and ``nc | tar`` do."""
    target.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname())
        here, _ = listener.accept()
        with there, here:
            writer = subprocess.Popen(["tar", "-C", source, "-cf", "-", "."], stdout=there.fileno())
            there.close()  # the program has it: the reader sees the end when that ends
            reader = subprocess.Popen(["tar", "-C", target, "-xf", "-"], stdin=here.fileno())
            assert writer.wait(60) == reader.wait(60) == 0


async def _fetch(agent: Agent, tree: str, cache: BlobCache, target: Path) -> None:
    blobs = NodeBlobs(cache, agent.blobs)
    await Materialiser(cache, blobs.bring).write(tree, target)
    await blobs.aclose()


async def _trees(url: str, top: Path) -> Sequence[Row]:
    numbers = itertools.count()
    source = top / "source"
    _fill(source, 1)

    def timed(copy: Callable[[Path], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
        async def measure() -> float:
            target = top / f"copy-{next(numbers)}"
            began = time.perf_counter()
            await copy(target)
            taken = time.perf_counter() - began
            shutil.rmtree(target)
            return taken

        return measure

    async def tar(target: Path) -> None:
        await asyncio.to_thread(_by_tar, source, target)

    async with (
        aio.connect("here", url=url, tenant=TENANT) as here,
        aio.connect("there", url=url, tenant=TENANT) as there,
    ):
        before = scan(source).tree
        await here.workspaces.import_directory(source, "before")
        warm = BlobCache(top / "warm")
        await _fetch(there, before, warm, top / "warmed")

        async def whole(target: Path) -> None:
            await _fetch(there, before, BlobCache(top / f"cache-{target.name}"), target)

        first = await interleave({"ours": timed(whole), "tar": timed(tar)}, runs=RUNS)
        for number in range(0, FILES, 100):
            (source / f"d{number % 20}" / f"f{number}").write_bytes(random.Random(number).randbytes(FILE_BYTES))
        after = scan(source).tree
        await here.workspaces.import_directory(source, "after")

        async def changed(target: Path) -> None:
            cache = top / f"warm-{target.name}"
            await _fetch(there, after, BlobCache(cache), target)

        async def again() -> float:
            target = top / f"copy-{next(numbers)}"
            shutil.copytree(warm.directory, top / f"warm-{target.name}")  # what the node has, and not what it got since
            began = time.perf_counter()
            await changed(target)
            taken = time.perf_counter() - began
            shutil.rmtree(target)
            return taken

        second = await interleave({"ours": again, "tar": timed(tar)}, runs=RUNS)
    return [
        row(
            "tree_fetch", first["ours"], first["tar"], baseline_name=TAR, unit="s", better="lower", demand=None,
            note=f"{FILES} files, {FILES * FILE_BYTES // 1_000_000} MB",
        ),
        row(
            "tree_fetch_again", second["ours"], second["tar"], baseline_name=TAR, unit="s", better="lower", demand=None,
            note="1% of the files changed",
        ),
    ]  # fmt: skip


def tree_fetch() -> Sequence[Row]:
    with nats_server() as url, tempfile.TemporaryDirectory(prefix="boxhub-bench-") as directory:
        top = Path(directory)
        with role("hub", url, top / "hub"):
            return asyncio.run(_trees(url, top))


async def _jetstream(url: str, top: Path) -> Sequence[Row]:
    data = random.Random(1).randbytes(BLOB_BYTES)
    (top / "blob").write_bytes(data)
    client = await nats.connect(url)
    theirs = await client.jetstream().create_object_store("theirs")
    await theirs.put("blob", data)
    async with JetStreamStore(url) as store:
        objects = store.tenant("default")
        await objects.write("blob", top / "blob")

        async def ours() -> float:
            began = time.perf_counter()
            with (top / "ours").open("wb") as file:
                async for piece in objects.read("blob", 0, BLOB_BYTES):
                    await asyncio.to_thread(file.write, piece)
            taken = time.perf_counter() - began
            assert blob_hash((top / "ours").read_bytes()) == blob_hash(data)
            return taken

        async def nats_py() -> float:
            began = time.perf_counter()
            with (top / "theirs").open("wb") as file:
                await theirs.get("blob", writeinto=file)
            return time.perf_counter() - began

        async def write() -> float:
            began = time.perf_counter()
            await objects.write("blob", top / "blob")
            return time.perf_counter() - began

        async def put() -> float:
            began = time.perf_counter()
            with (top / "blob").open("rb") as file:
                await theirs.put("blob", file)
            return time.perf_counter() - began

        reads = await interleave({"ours": ours, "theirs": nats_py}, runs=RUNS)
        writes = await interleave({"ours": write, "theirs": put}, runs=RUNS)
    await client.close()
    size = f"{BLOB_BYTES >> 20} MiB"
    return [
        row(
            "jetstream_read", reads["ours"], reads["theirs"], baseline_name="nats-py get(writeinto=)", unit="s",
            better="lower", demand=1.0, note=size,
        ),
        row(
            "jetstream_write", writes["ours"], writes["theirs"], baseline_name="nats-py put", unit="s",
            better="lower", demand=None, note=size,
        ),
    ]  # fmt: skip


def jetstream() -> Sequence[Row]:
    with nats_server() as url, tempfile.TemporaryDirectory(prefix="boxhub-bench-") as directory:
        return asyncio.run(_jetstream(url, Path(directory)))


BENCHMARKS = [Benchmark("tree_fetch", tree_fetch), Benchmark("jetstream_read", jetstream)]
