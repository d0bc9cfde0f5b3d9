"""Whatever happens to boxes, nothing of them stays: counted before and after many random lives and deaths."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from box_agent import Box
from box_agent.driver import Handle
from box_agent.drivers.local.cgroups import Cgroups
from box_agent.worker import processes
from schemas.errors import BoxhubError
from tests.conformance.box.boxes import Broken, Prepared, Threaded, Workshop
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, open_descriptors, usable
from tests.faults.box.conftest import FORKING

KINDS: tuple[Box, ...] = (
    Workshop(),
    Workshop().env(OTHER="template"),
    Workshop().limit(memory_bytes=300_000_000, pids=100, cpus=1.0),
    Workshop().allow(ports=[9]),
    Threaded(),
    Broken(),
    Workshop() + Prepared(),
    Workshop() + Prepared() + Threaded(),
)


@dataclass(frozen=True)
class Count:
    """Of all that boxes take from a machine."""

    processes: frozenset[int]
    namespaces: frozenset[str]
    mounts: int
    cgroups: int
    descriptors: tuple[str, ...]
    directories: tuple[str, ...]

    @classmethod
    def now(cls, folder: Path) -> Count:
        below = processes.descendants(os.getpid())
        return cls(
            frozenset(below),
            frozenset(_namespaces([os.getpid(), *below])),
            len(Path("/proc/self/mountinfo").read_text().splitlines()),
            len(list(Path("/sys/fs/cgroup").rglob(f"{Cgroups(folder / 'driver')._prefix}*"))),
            tuple(open_descriptors()),
            tuple(sorted(str(p) for p in (folder / "driver" / "boxes").glob("*"))),
        )


def _namespaces(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        for name in ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup"):
            try:
                found.append(str(Path(f"/proc/{pid}/ns/{name}").readlink()))
            except OSError:
                continue  # it has just ended
    return found


async def live(bench: Workbench, chance: random.Random) -> None:
    """One box, from its beginning, which may fail, to its end, which may be anybody's."""
    kind = chance.choice(KINDS)
    spawning = asyncio.ensure_future(bench.spawn(kind, timeout_s=20))
    try:
        if chance.random() < 0.15:
            await asyncio.wait({spawning}, timeout=chance.random() * 0.05)
            spawning.cancel()
        box = await spawning
    except (BoxhubError, asyncio.CancelledError):
        return
    await die(box, chance)
    await box.stop(0)


async def die(box: Handle, chance: random.Random) -> None:
    parents = processes.parents()
    keeper = parents.get(box.pid, 0)
    template = parents.get(keeper, 0)
    match chance.choice(["stop", "stop", "grace", "worker", "keeper", "template", "above", "call", "exit"]):
        case "grace":
            await box.stop(0.5)
        case "worker":
            processes.send(box.pid, signal.SIGKILL)
        case "keeper" if keeper > 1:
            processes.send(keeper, signal.SIGKILL)
        case "template" if template > 1:
            processes.send(template, signal.SIGKILL)
        case "above" if template > 1 and parents.get(template, 1) not in (0, 1, os.getpid()):
            processes.send(parents[template], signal.SIGKILL)
        case "call":
            call = asyncio.ensure_future(box.call(ask("family", "flag", timeout_s=0.2)))
            await asyncio.wait({call}, timeout=chance.random() * 0.1)
            await box.stop(0)
            await asyncio.wait({call})
            call.exception()
        case "exit":
            try:
                await box.call(ask("exit_at_once", 3))
            except BoxhubError:
                pass  # that it ended is what was wanted
        case _:
            await box.stop(0)


async def lives(name: str, folder: Path, how_many: int) -> None:
    chance = random.Random(20261123)
    (folder / "driver" / "boxes").mkdir(parents=True)
    before = Count.now(folder)
    driver = FORKING[name](folder / "driver", VARIABLES)
    try:
        await usable(driver)
        bench = Workbench(driver, folder)
        places = asyncio.Semaphore(4)

        async def one() -> None:
            async with places:
                await live(bench, chance)

        async with asyncio.TaskGroup() as group:
            for _ in range(how_many):
                group.create_task(one())
    finally:
        await driver.aclose()
    assert Count.now(folder) == before


@pytest.mark.parametrize("name", sorted(FORKING))
@pytest.mark.timeout(120)
async def test_fifty_lives_leave_nothing(tmp_path: Path, name: str) -> None:
    await lives(name, tmp_path, 50)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_five_hundred_lives_leave_nothing(tmp_path: Path) -> None:
    await lives("local", tmp_path, 500)
