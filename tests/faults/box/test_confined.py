"""Boxes that Landlock holds: what they cannot reach, and what is left when somebody is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent import Box, skill
from box_agent.drivers.sandlock.driver import SandlockDriver
from box_agent.worker import processes
from schemas.errors import SkillFailed
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import VARIABLES, Flag, Workbench, ask, there, usable


class Hostile(Box):
    """Each skill tells what it got hold of; what it could not raises."""

    @skill
    def read(self, path: str) -> str:
        return Path(path).read_text()

    @skill
    def names(self, path: str) -> list[str]:
        return [entry.name for entry in Path(path).iterdir()]

    @skill
    def write(self, path: str) -> str:
        Path(path).write_text("spoilt")
        return path

    @skill
    def kill(self, pid: int) -> int:
        os.kill(pid, signal.SIGKILL)
        return pid

    @skill
    def look_into(self, pid: int) -> str:
        return Path(f"/proc/{pid}/environ").read_text()

    @skill
    def connect(self, family: int, address: str, port: int) -> str:
        target = (address, port) if port else address
        with socket.socket(family) as made:
            made.connect(target)
        return address


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Workbench]:
    async with SandlockDriver(tmp_path / "driver", VARIABLES) as driver:
        await usable(driver)
        yield Workbench(driver, tmp_path)
    assert processes.with_argument(str(tmp_path / "driver")) == []


async def test_a_box_reaches_nothing_that_is_not_its_own(bench: Workbench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    other = await bench.spawn(Workshop)
    await other.call(ask("write", "private", "of the other"))
    box = await bench.spawn(Hostile)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "unix"))
        local.listen()
        for attack in (
            ask("read", str(secret)), ask("read", "/etc/shadow"), ask("names", str(Path.home())),
            ask("read", str(other.directory / "private")), ask("write", str(other.directory / "private")),
            ask("write", "/usr/spoilt"), ask("write", str(tmp_path / "spoilt")), ask("write", "/dev/shm/spoilt"),
            ask("kill", os.getpid()), ask("kill", other.pid), ask("kill", os.getppid()),
            ask("look_into", os.getpid()), ask("look_into", other.pid),
            ask("connect", socket.AF_INET, "127.0.0.1", server.getsockname()[1]),
            ask("connect", socket.AF_UNIX, str(tmp_path / "unix"), 0),
        ):  # fmt: skip
            with pytest.raises(SkillFailed, match=r"PermissionError|Address family not supported"):
                await box.call(attack)
    assert await box.call(ask("write", "mine")) == "mine"
    assert processes.alive(other.pid)


HOLES = {
    "sandlock": "import sandlock; sandlock.confine = lambda policy: None",
    "seccomp": "from box_agent.drivers.local import seccomp; seccomp.Filter.install = lambda self: None",
}


@pytest.mark.parametrize("hole", sorted(HOLES))
async def test_without_a_guard_an_attack_gets_through(tmp_path: Path, hole: str) -> None:
    """So the test above fails when one is taken away."""
    boot = f"import sys; sys.path.append(sys.argv[1]); {HOLES[hole]}; {SandlockDriver.boot}"
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    async with type("Holed", (SandlockDriver,), {"boot": boot})(tmp_path / "driver", VARIABLES) as driver:
        await usable(driver)
        box = await Workbench(driver, tmp_path).spawn(Hostile)
        if hole == "sandlock":
            assert await box.call(ask("read", str(secret))) == "hunter2"
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                assert await box.call(ask("connect", socket.AF_INET, "127.0.0.1", server.getsockname()[1]))


@pytest.mark.parametrize("victim", ["keeper", "supervisor", "worker"])
async def test_whoever_is_killed_nothing_of_the_box_is_left(bench: Workbench, flag: Flag, victim: str) -> None:
    box = await bench.spawn(Workshop)
    call = asyncio.ensure_future(box.call(ask("family", str(flag))))
    await there(flag)
    parents = processes.parents()
    keeper = parents[box.pid]
    supervisor = parents[parents[keeper]]
    os.kill({"keeper": keeper, "supervisor": supervisor, "worker": box.pid}[victim], signal.SIGKILL)
    async with asyncio.timeout(5):
        await (box.stop(0) if victim == "supervisor" else box.wait())
    await asyncio.wait({call})
    assert processes.marked(frozenset([box.id])) == {}
    assert not any(map(processes.alive, (keeper, supervisor, box.pid)))
