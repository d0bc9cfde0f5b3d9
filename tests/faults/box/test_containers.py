"""Containers on a real Podman: what they see, what they may use, and what is left when somebody dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent import Box, skill
from box_agent.drivers.container.driver import ContainerDriver
from box_agent.drivers.local import mounts
from box_agent.worker import processes
from schemas.errors import DriverUnavailable, LimitExceeded
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, usable
from tests.faults.box.hogs import Hog
from tests.faults.box.test_hogs import BY_LIMIT, SMALL
from tests.servers.podman import Podman

HOLDER = """
import asyncio, sys
from pathlib import Path
from box_agent.drivers.container.driver import ContainerDriver
from box_agent.drivers.local.trial import NoBlobs, Unheard
from schemas.box import BoxDefinition, SpawnRequest

async def main(home, socket, directory):
    driver = ContainerDriver(Path(home), {"PATH": "/usr/bin:/bin"}, socket=Path(socket))
    definition = BoxDefinition(name="held", fingerprint="held")
    template = await driver.build_template(definition, NoBlobs())
    box = await driver.spawn(template, SpawnRequest(id="held", definition=definition), Path(directory), Unheard())
    print(box.pid, flush=True)
    await box.wait()

asyncio.run(main(*sys.argv[1:]))
"""


class Prying(Box):
    @skill
    def sees(self, path: str) -> bool:
        return Path(path).exists()

    @skill
    def content(self, path: str) -> str:
        return Path(path).read_text()

    @skill
    def spoils(self, path: str) -> str:
        try:
            Path(path).write_text("spoilt")
        except OSError as error:
            return error.strerror or ""
        return ""

    @skill
    def devices(self) -> list[str]:
        return sorted(line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:])

    @skill
    def capabilities(self) -> dict[str, str]:
        wanted = ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")
        lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return {name: value.strip() for name, value in lines if name in wanted}

    @skill
    def eat_in_children(self) -> None:
        code = "import time; x = bytearray(60_000_000); time.sleep(600)"
        children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
        time.sleep(600)
        assert children


@pytest.fixture
async def bench(podman: Podman, tmp_path: Path) -> AsyncIterator[Workbench]:
    async with ContainerDriver(tmp_path / "driver", VARIABLES, socket=podman.socket) as driver:
        await usable(driver)
        yield Workbench(driver, tmp_path)
    assert podman.run("ps", "--all", "--quiet") == ""


async def test_a_box_sees_what_it_was_granted_and_no_more(bench: Workbench, tmp_path: Path) -> None:
    shelf, secret = tmp_path / "shelf", tmp_path / "secret"
    shelf.mkdir()
    (shelf / "book").write_text("once upon a time")
    secret.write_text("hunter2")
    for path in (tmp_path, shelf, secret):
        path.chmod(0o755)
    box = await bench.spawn(Prying().allow(mounts={"/data/shelf": str(shelf)}))
    assert await box.call(ask("content", "/data/shelf/book")) == "once upon a time"
    assert "Read-only" in await box.call(ask("spoils", "/data/shelf/book"))
    assert "Read-only" in await box.call(ask("spoils", "/usr/spoilt"))
    assert await box.call(ask("spoils", "/workspace/mine")) == ""
    for hidden in (str(secret), "/etc/shadow", str(tmp_path / "driver"), "/var/lib", "/run/podman"):
        assert not await box.call(ask("sees", hidden)), hidden
    assert await box.call(ask("devices")) == ["lo"]
    status = await box.call(ask("capabilities"))
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


async def test_a_start_that_is_cancelled_at_any_moment_leaves_no_container(bench: Workbench) -> None:
    """The engine goes on with what it was asked for, also when nobody waits for the answer. The fixture counts."""
    await bench.template(Workshop)
    for delay_s in (0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.12, 0.25):
        starting = asyncio.ensure_future(bench.spawn(Workshop))
        await asyncio.wait({starting}, timeout=delay_s)
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled():
            await starting.result().stop(0)


async def test_memory_of_all_its_processes_is_held_by_the_kernel_and_the_caller_is_told(bench: Workbench) -> None:
    box = await bench.spawn(Prying().limit(memory_bytes=128 * 2**20))
    with pytest.raises(LimitExceeded) as exceeded:
        await box.call(ask("eat_in_children"))
    assert exceeded.value.details["limit"] == "memory_bytes"
    assert exceeded.value.details["allowed"] == 128 * 2**20


@pytest.mark.parametrize("skill", ["fork", "hoard", "write_many_files"])
async def test_a_hog_is_told_which_limit_it_met(bench: Workbench, skill: str) -> None:
    limit = BY_LIMIT[skill]
    box = await bench.spawn(Hog().limit(**{limit: SMALL[limit]}))
    with pytest.raises(LimitExceeded) as exceeded:
        await box.call(ask(skill))
    assert exceeded.value.details["limit"] == limit


async def test_a_killed_node_leaves_no_process_and_the_next_one_no_container(podman: Podman, tmp_path: Path) -> None:
    driver = ContainerDriver(tmp_path / "home", VARIABLES, socket=podman.socket)
    await usable(driver)
    (tmp_path / "work").mkdir()
    places = [str(tmp_path / "home"), str(podman.socket), str(tmp_path / "work")]
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, *places, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert holder.stdout is not None
    async with asyncio.timeout(20):
        worker = int(await holder.stdout.readline())
    assert processes.alive(worker)
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    async with asyncio.timeout(2):
        while processes.alive(worker) or processes.marked(frozenset(["held"])):  # noqa: ASYNC110 - not our children
            await asyncio.sleep(0.01)
    assert podman.run("ps", "--all", "--quiet") != ""
    await driver.sweep()
    assert podman.run("ps", "--all", "--quiet") == ""
    assert list((tmp_path / "home" / "worlds").iterdir()) == list((tmp_path / "home" / "boxes").iterdir()) == []
    await driver.aclose()


async def test_a_box_ends_without_the_engine_that_made_it(bench: Workbench, podman: Podman) -> None:
    """What proves its end is the kernel's; the engine that is stopped here only tidies up."""
    box = await bench.spawn(Workshop)
    podman.pause()
    try:
        os.kill(box.pid, signal.SIGKILL)
        async with asyncio.timeout(2):
            while processes.marked(frozenset([box.id])):  # noqa: ASYNC110 - not our children
                await asyncio.sleep(0.01)
    finally:
        podman.resume()
    assert (await box.wait()).signal == signal.SIGKILL


async def test_an_engine_that_is_killed_is_told_of_and_leaves_its_boxes(bench: Workbench, podman: Podman) -> None:
    """Nobody removes the container then; the driver does, as soon as somebody can. The fixture counts."""
    box, other = await bench.spawn(Workshop), await bench.spawn(Workshop)
    podman.kill()
    try:
        assert await box.call(ask("add", 1, 2)) == 3
        with pytest.raises(DriverUnavailable, match="no container engine answers at"):
            await bench.spawn(Workshop)
        assert (await box.stop(0)).asked
        assert not processes.marked(frozenset([box.id]))
        assert await other.call(ask("add", 1, 2)) == 3
    finally:
        podman.start()
    assert len(podman.run("ps", "--all", "--quiet").split()) == 2
    third = await bench.spawn(Workshop)
    assert await third.call(ask("add", 1, 2)) == 3
    assert len(podman.run("ps", "--all", "--quiet").split()) == 2, "the third's and the other's"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts something")
async def test_what_is_mounted_in_a_granted_directory_is_not_shown(bench: Workbench, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    (shelf / "inner").mkdir(parents=True)
    for path in (tmp_path, shelf):
        path.chmod(0o755)
    mounts.mount_tmpfs(str(shelf / "inner"), "mode=777,size=1m")
    try:
        (shelf / "inner" / "secret").write_text("hunter2")
        box = await bench.spawn(Prying().allow(mounts={"/data": str(shelf)}))
        assert await box.call(ask("sees", "/data/inner"))
        assert not await box.call(ask("sees", "/data/inner/secret"))
        assert "Read-only" in await box.call(ask("spoils", "/data/inner/mine"))
    finally:
        mounts.unmount(str(shelf / "inner"))


async def test_without_an_engine_the_reason_and_the_cure_are_told(tmp_path: Path) -> None:
    driver = ContainerDriver(tmp_path / "driver", VARIABLES, socket=tmp_path / "none.sock")
    info = await driver.probe()
    assert not info.available
    assert "none.sock" in info.reason and "podman system service" in info.reason
    assert list(await driver.sweep()) == []
    await driver.aclose()
