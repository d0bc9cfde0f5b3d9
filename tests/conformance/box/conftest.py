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
from box_agent.drivers.container.driver import ContainerDriver
from box_agent.drivers.local.driver import LocalDriver
from box_agent.drivers.process.driver import ProcessDriver
from box_agent.drivers.sandlock.driver import SandlockDriver
from box_agent.files.cache import BlobCache
from box_agent.worker import processes
from schemas.box import BoxDefinition, SpawnRequest
from schemas.errors import BlobNotFound
from schemas.ids import new_id

VARIABLES = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "FROM_THE_NODE": "yes"}

Make = Callable[[Path, Mapping[str, str]], Driver]


def _container(request: pytest.FixtureRequest) -> Make:
    socket = request.getfixturevalue("podman").socket
    return lambda home, variables: ContainerDriver(home, variables, socket=socket)


DRIVERS: dict[str, Callable[[pytest.FixtureRequest], Make]] = {
    "container": _container,
    "local": lambda request: LocalDriver,
    "process": lambda request: ProcessDriver,
    "sandlock": lambda request: SandlockDriver,
}


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

    def processes(self) -> set[int]:
        """Those of the driver and its boxes: below this process, or below one that an engine started for the driver."""
        children = processes.families()
        engines = {pid for pid in children.get(os.getpid(), []) if _is_engine(pid)}
        outside = {pid for engine in engines for pid in (engine, *processes.below(engine, children))}
        here = set(processes.below(os.getpid(), children)) - outside
        for first in processes.with_argument(str(self._folder / "driver")):
            if processes.alive(first):
                here.update((first, *processes.below(first, children)))
        return here

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


DEAR = ("container", "sandlock")
"""Their boxes are loaded one by one."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What shows code that all drivers share, or what forks share, has no place where each box costs a container."""
    cheap = ("shared", "forked")
    again = [item for item in items if any(map(item.get_closest_marker, cheap)) and _param(item) in DEAR]
    if again:
        config.hook.pytest_deselected(items=again)
        items[:] = [item for item in items if item not in again]


def _param(item: pytest.Item) -> str:
    return item.callspec.params.get("bench", "") if hasattr(item, "callspec") else ""


@pytest.fixture(scope="session")
def refused() -> dict[str, str]:
    """Drivers that make boxes dearly → why they do not work here, or empty: found out once."""
    return {}


@pytest.fixture(params=sorted(DRIVERS))
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workbench]:
    async with opened(request.param, request, tmp_path) as made:
        yield made


@asynccontextmanager
async def opened(name: str, request: pytest.FixtureRequest, folder: Path, **variables: str) -> AsyncIterator[Workbench]:
    """In the end: no process, no descriptor, no folder of a box more than before."""
    make, refused = DRIVERS[name](request), request.getfixturevalue("refused")
    descriptors = open_descriptors()
    async with AsyncExitStack() as stack:
        driver = make(folder / "driver", VARIABLES | variables)
        made = Workbench(driver, folder)
        below = made.processes()
        stack.push_async_callback(driver.aclose)
        if driver.info.warm or name not in refused:
            refused[name] = await refusal(driver)
        if refused[name]:
            pytest.skip(refused[name])
        yield made
    assert made.processes() - below == set()
    assert processes.marked(frozenset(made.spawned)) == {}
    assert open_descriptors() == descriptors
    if name == "container":
        assert request.getfixturevalue("podman").run("ps", "--all", "--quiet") == ""
    assert list((folder / "driver" / "boxes").iterdir()) == []


def _is_engine(pid: int) -> bool:
    """One that makes containers keeps processes of its own beside them, which are not ours to count."""
    try:
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False  # ended meanwhile
    return program in ("podman", "conmon")


async def refusal(driver: Driver) -> str:
    """Why the kernel, or the container around us, forbids what the driver needs; empty when they do not."""
    info = await driver.probe()
    return "" if info.available else f"driver {info.name!r}: {info.reason}"


async def usable(driver: Driver) -> None:
    """Skips the test where it is not."""
    why = await refusal(driver)
    if why:
        pytest.skip(why)


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
