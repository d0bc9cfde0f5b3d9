"""Every driver of this machine, each test with a fresh one that must leave nothing behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from box_agent.box.box import Box
from box_agent.driver import CallRequest, Driver, Handle, Template
from box_agent.drivers.local.driver import LocalDriver
from box_agent.drivers.process.driver import ProcessDriver
from box_agent.files.cache import BlobCache
from box_agent.worker import processes
from schemas.box import BoxDefinition, SpawnRequest
from schemas.errors import BlobNotFound
from schemas.ids import new_id

VARIABLES = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "FROM_THE_NODE": "yes"}

DRIVERS: dict[str, Callable[[Path, Mapping[str, str]], Driver]] = {"local": LocalDriver, "process": ProcessDriver}


class LocalBlobs:
    """`box_agent.driver.Blobs` of a node that has them all."""

    def __init__(self, directory: Path) -> None:
        self.cache = BlobCache(directory)

    def add(self, blobs: Mapping[str, bytes]) -> None:
        for data in blobs.values():
            self.cache.put(data)

    async def path(self, digest: str) -> Path:
        if not self.cache.has(digest):
            raise BlobNotFound(f"no blob {digest}")
        return self.cache.path(digest)


class Heard:
    """`box_agent.driver.Surroundings` that remembers what boxes said, and answers what they ask."""

    def __init__(self) -> None:
        self.emitted: list[tuple[str, str, str, Any]] = []
        self.requests: list[tuple[str, str, str, dict[str, Any]]] = []
        self.answer: Any = "done"
        self._more = asyncio.Event()

    async def request(self, box: str, call: str, verb: str, arguments: Mapping[str, Any]) -> Any:
        self.requests.append((box, call, verb, dict(arguments)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def emit(self, box: str, call: str, kind: str, data: Any) -> None:
        self.emitted.append((box, call, kind, data))
        self._more.set()

    def text(self, kind: str) -> str:
        return "".join(data["text"] for _, _, k, data in self.emitted if k == kind)

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not true():
                self._more.clear()
                await self._more.wait()


class Workbench:
    """A driver with what a node has around it."""

    def __init__(self, driver: Driver, folder: Path) -> None:
        self.driver = driver
        self.blobs = LocalBlobs(folder / "blobs")
        self.heard = Heard()
        self.spawned: list[str] = []
        self._folder = folder

    async def template(self, box: Box | type[Box]) -> tuple[BoxDefinition, Template]:
        value = box() if isinstance(box, type) else box
        definition, blobs = value.pack()
        self.blobs.add(blobs)
        return definition, await self.driver.build_template(definition, self.blobs)

    def directory(self, name: str) -> Path:
        path = self._folder / "work" / name
        path.mkdir(parents=True)
        return path

    async def spawn(
        self, box: Box | type[Box], *, id: str = "", directory: Path | None = None, timeout_s: float = 30.0
    ) -> Handle:
        definition, template = await self.template(box)
        id = id or new_id("box")
        self.spawned.append(id)
        request = SpawnRequest(id=id, definition=definition, timeout_s=timeout_s)
        return await self.driver.spawn(template, request, directory or self.directory(id), self.heard)


def ask(skill: str, *args: Any, timeout_s: float | None = 20.0, id: str = "", **kwargs: Any) -> CallRequest:
    return CallRequest(id or new_id("call"), skill, args, kwargs, "tester", timeout_s)


def open_descriptors() -> list[str]:
    """What this process holds open, by kind: inode numbers differ from one time to the next."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(fd.readlink()).partition(":")[0])
        except FileNotFoundError:
            continue  # the descriptor of this very listing
    return sorted(found)


@pytest.fixture(params=sorted(DRIVERS))
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workbench]:
    async with opened(request.param, tmp_path) as made:
        yield made


@asynccontextmanager
async def opened(driver: str, folder: Path, **variables: str) -> AsyncIterator[Workbench]:
    """In the end: no process, no descriptor, no folder of a box more than before."""
    descriptors, below = open_descriptors(), set(processes.descendants(os.getpid()))
    async with AsyncExitStack() as stack:
        one = DRIVERS[driver](folder / "driver", VARIABLES | variables)
        stack.push_async_callback(one.aclose)
        await usable(one)
        made = Workbench(one, folder)
        yield made
    assert set(processes.descendants(os.getpid())) - below == set()
    assert processes.marked(frozenset(made.spawned)) == {}
    assert open_descriptors() == descriptors
    assert list((folder / "driver" / "boxes").iterdir()) == []


async def usable(driver: Driver) -> None:
    """Skips the test where the kernel, or the container around us, forbids what the driver needs."""
    info = await driver.probe()
    if not info.available:
        pytest.skip(f"driver {info.name!r}: {info.reason}")


class Flag:
    """A file that a skill writes to say that it runs: ``str(flag)`` is its name, in the directory of whichever box."""

    def __init__(self, directories: Path) -> None:
        self._directories = directories

    def __str__(self) -> str:
        return "flag"

    def _path(self) -> Path | None:
        return next(self._directories.glob("*/flag"), None)

    def exists(self) -> bool:
        return self._path() is not None

    def read_text(self) -> str:
        path = self._path()
        assert path is not None
        return path.read_text()

    def unlink(self) -> None:
        path = self._path()
        if path is not None:
            path.unlink()


@pytest.fixture
def flag(tmp_path: Path) -> Flag:
    return Flag(tmp_path / "work")


async def there(path: Path | Flag, text: str | None = None) -> str:
    """What was written to ``path``, as soon as it is; if given, as soon as it is ``text``."""
    async with asyncio.timeout(10):
        while not path.exists() or (text is not None and path.read_text() != text):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)
    return path.read_text()
