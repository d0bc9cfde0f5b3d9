"""The MongoDB-protocol server is killed, restarted, cut off or deaf."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from context_store.backend import Collection
from context_store.backends.mongodb import MongoBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore
from schemas.conversation import Turn
from schemas.errors import InvalidInput, RevisionConflict, StoreUnavailable
from schemas.part import Part
from tests.faults.context_store.proxy import Proxy, running_proxy
from tests.servers.process import ServerProcess, free_port
from tests.servers.requirement import find_program, missing

THINGS = Collection("things", indexes=("by",))


class Server:
    """A server on one directory, behind a proxy; killed with SIGKILL and started again."""

    def __init__(self, directory: Path, proxy: Proxy) -> None:
        self._directory = directory
        self.proxy = proxy
        self.process: ServerProcess | None = None

    async def start(self) -> None:
        if mongod := find_program("mongod"):
            port = free_port()
            arguments = ["--dbpath", str(self._directory), "--bind_ip", "127.0.0.1", "--port", str(port)]
            self.process = ServerProcess(
                "mongod", [mongod, *arguments], is_ready=lambda line: "Waiting for connections" in line
            )
        elif ferretdb := find_program("ferretdb"):
            self.process = ServerProcess(
                "ferretdb", [ferretdb, self._directory], is_ready=lambda line: line.startswith("mongodb://")
            )
        else:
            missing("a MongoDB-protocol server", "install mongod, or Go and run `make test`, which builds FerretDB")
        self.process.launch()
        line = await self.process.ready()
        port = int(line.rpartition(":")[2].strip("/")) if line.startswith("mongodb://") else port
        self.proxy.target = ("127.0.0.1", port)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.proxy.cut()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    (tmp_path / "db").mkdir()
    async with running_proxy() as proxy:
        server = Server(tmp_path / "db", proxy)
        await server.start()
        try:
            yield server
        finally:
            server.kill()


async def test_killed_while_many_write(server, tmp_path):
    """Every acknowledged write is there afterwards; a short outage is only slow."""
    backend = MongoBackend(server.proxy.url, timeout_s=20)
    async with ContextStore(backend, DirectoryBlobs(tmp_path / "b")) as store:
        scope = store.tenant("default")
        records = scope.records(THINGS)
        conversation = (await scope.conversations.create()).id
        await records.insert("counter", {"n": 0})
        inserted: list[str] = []
        said: list[str] = []
        counted = unknown = 0

        async def insert(by: int) -> None:
            for n in range(40):
                await records.insert(f"{by}/{n}", {"by": by})
                inserted.append(f"{by}/{n}")

        async def count() -> None:
            nonlocal counted, unknown
            for _ in range(12):
                try:
                    await records.update("counter", lambda doc: {"n": doc["n"] + 1}, retries=500)
                    counted += 1
                except StoreUnavailable as error:
                    if "others wrote it since" not in str(error):
                        raise
                    unknown += 1

        async def talk(who: int) -> None:
            for n in range(12):
                await scope.conversations.append(conversation, [Turn(id=f"t{who}.{n}", parts=[Part(text="x")])])
                said.append(f"t{who}.{n}")

        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(insert(number))
                group.create_task(count())
                group.create_task(talk(number))
            for enough in (15, 50):
                while len(inserted) < enough:
                    await records.get("counter")
                server.kill()
                await server.start()
        assert (len(inserted), len(said), counted + unknown) == (80, 24, 24)
        for key in inserted:
            assert await records.get(key) is not None, key
        # A write whose answer was lost is recognised, or said to be unknown; never repeated, never denied.
        assert counted <= (await records.get("counter")).doc["n"] <= counted + unknown
        assert unknown <= 4
        turns = await scope.conversations.turns(conversation, limit=10_000)
        assert sorted(t.id for t in turns) == sorted(said)


async def test_an_outage_is_an_error_within_the_deadline_and_ends(server):
    async with MongoBackend(server.proxy.url, timeout_s=0.6) as backend:
        records = backend.records("default", THINGS)
        await records.insert("a", {})
        server.kill()
        operations: list[Any] = [
            lambda: records.get("a"),
            lambda: records.insert("b", {}),
            lambda: records.replace("a", {}, expected=1),
            lambda: records.delete("c"),
            records.find,
            backend.ping,
        ]
        for operation in operations:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable) as outage:
                await operation()
            assert time.monotonic() - began < 3
            assert outage.value.retryable
        await server.start()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await records.get("a")).revision == 1
                    break
                except StoreUnavailable:
                    continue
        with pytest.raises(RevisionConflict):
            await records.replace("a", {}, expected=7)


async def test_a_server_that_accepts_and_never_answers(server):
    async with MongoBackend(server.proxy.url, timeout_s=0.6) as backend:
        records = backend.records("default", THINGS)
        await records.insert("a", {})
        server.proxy.deaf = True
        for operation in (lambda: records.get("a"), lambda: records.insert("b", {}), records.find):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await operation()
            assert time.monotonic() - began < 3
        server.proxy.deaf = False
        server.proxy.cut()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await records.get("a") is not None
                    break
                except StoreUnavailable:
                    continue


async def test_a_watch_comes_back(server, tmp_path):
    backend = MongoBackend(server.proxy.url, timeout_s=0.6)
    async with ContextStore(backend, DirectoryBlobs(tmp_path / "b"), poll_s=0.05) as store:
        keyvalues = store.tenant("default").keyvalues
        async with keyvalues.watch() as watch, asyncio.timeout(40):
            first = await keyvalues.put("k", 1)
            assert await anext(watch) == first
            server.kill()
            waiting = asyncio.ensure_future(anext(watch))
            with pytest.raises(StoreUnavailable):
                await keyvalues.put("k", 2)
            assert not waiting.done()
            await server.start()
            while True:
                try:
                    second = await keyvalues.put("k", 3)
                    break
                except StoreUnavailable:
                    continue
            assert await waiting == second


async def test_nobody_at_the_address():
    backend = MongoBackend(f"mongodb://user:secret@127.0.0.1:{free_port()}/", timeout_s=0.4)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as outage:
        await backend.open()
    assert time.monotonic() - began < 3
    assert "secret" not in str(outage.value)
    await backend.aclose()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "mongodb://", "mongodb://127.0.0.1:port/"])
async def test_urls_that_are_none(url):
    with pytest.raises(InvalidInput):
        await MongoBackend(url).open()
