"""The process that forwards a box's ports: it ends with the box, the box with it, and neither harms a neighbour."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent.drivers.local import relay
from box_agent.drivers.local.driver import LocalDriver
from box_agent.worker import processes
from schemas.errors import BoxDied, SkillFailed
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, open_descriptors, usable
from tests.conformance.box.outside import Caller, Eager, listening, reverse
from tests.faults.box.test_killed import ended


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workbench]:
    """Of the local driver; nothing of it is left in the end."""
    descriptors, below = open_descriptors(), set(processes.descendants(os.getpid()))
    driver = LocalDriver(tmp_path / "driver", VARIABLES)
    try:
        await usable(driver)
        yield Workbench(driver, tmp_path)
    finally:
        await driver.aclose()
    assert set(processes.descendants(os.getpid())) - below == set()
    assert open_descriptors() == descriptors


def forwarders() -> set[int]:
    """Children of the ground that are no ushers: those lead a pid namespace's init."""
    children = processes.families()
    found = set()
    for ground in children.get(os.getpid(), []):
        for child in children.get(ground, []):
            if not children.get(child):
                found.add(child)
    return found


async def test_it_ends_with_its_box_and_so_do_its_connections(shop: Workbench) -> None:
    gone = asyncio.Event()

    async def notice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:
            pass  # an end is an end
        gone.set()
        writer.close()

    async with listening(notice) as port:
        box = await shop.spawn(Caller().allow(ports=[port]))
        assert len(forwarders()) == 1
        assert await box.call(ask("keep_open", port, 1)) == 1
        await box.stop()
        assert forwarders() == set()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_box_does_not_go_on_without_it(shop: Workbench) -> None:
    async with listening(reverse) as port:
        box = await shop.spawn(Caller().allow(ports=[port]))
        beside = await shop.spawn(Caller().allow(ports=[port]))
        (killed,) = forwarders() - await _of(shop, beside.id)
        os.kill(killed, signal.SIGKILL)
        exit = await box.wait()
        assert "forwarder" in exit.reason
        with pytest.raises(BoxDied, match="forwarder"):
            await box.call(ask("exchange", port, "x"))
        assert await beside.call(ask("exchange", port, "abc")) == "cba"


async def _of(shop: Workbench, box: str) -> set[int]:
    assert isinstance(shop.driver, LocalDriver)
    return {shop.driver._forwarders._running[box].process.pid}


async def test_more_connections_than_it_carries_wait_their_turn(shop: Workbench) -> None:
    arrived = asyncio.Semaphore(0)

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.release()
        await reader.read()
        writer.close()

    async with listening(hold) as port, listening(reverse) as other:
        box = await shop.spawn(Caller().allow(ports=[port, other]))
        beside = await shop.spawn(Caller().allow(ports=[other]))
        assert await box.call(ask("keep_open", port, relay.CONNECTIONS)) == relay.CONNECTIONS
        async with asyncio.timeout(10):
            for _ in range(relay.CONNECTIONS):
                await arrived.acquire()
        with pytest.raises(SkillFailed, match="timed out"):
            await box.call(ask("exchange", other, "one too many", 0.2))
        assert await beside.call(ask("exchange", other, "abc")) == "cba"
        await box.call(ask("let_go"))
        assert await box.call(ask("exchange", other, "then")) == "neht"


async def test_a_box_that_comes_to_nothing_leaves_none(shop: Workbench) -> None:
    directory = shop.directory("eager")
    (directory / "port").write_text("9")
    with pytest.raises(SkillFailed, match="setup"):
        await shop.spawn(Eager().allow(ports=[9]), directory=directory)
    await ended(*forwarders())
    await shop.template(Caller().allow(ports=[9]))
    spawning = asyncio.ensure_future(shop.spawn(Caller().allow(ports=[9])))
    while not forwarders():  # noqa: ASYNC110 - other processes have no event to wait for
        await asyncio.sleep(0)
    spawning.cancel()
    await asyncio.wait({spawning})
    await ended(*forwarders())


async def test_it_ends_with_the_node(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, pathlib\n"
        "from tests.conformance.box.conftest import VARIABLES, Workbench\n"
        "from tests.conformance.box.outside import Caller\n"
        "from box_agent.drivers.local.driver import LocalDriver\n"
        "async def main(folder):\n"
        "    async with LocalDriver(folder / 'driver', VARIABLES) as driver:\n"
        "        await Workbench(driver, folder).spawn(Caller().allow(ports=[9]), id='granted')\n"
        "        print(driver._forwarders._running['granted'].process.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main(pathlib.Path(sys.argv[1])))\n"
    )
    driver = LocalDriver(tmp_path / "other", VARIABLES)
    try:
        await usable(driver)
    finally:
        await driver.aclose()
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    try:
        assert holder.stdout is not None
        forwarder = int(await holder.stdout.readline())
        assert processes.alive(forwarder)
    finally:
        holder.kill()
        await holder.communicate()
    await ended(forwarder)


async def test_what_it_does_is_counted_as_the_boxs(shop: Workbench) -> None:
    """Where there are cgroups: a limited box does not get a second helper's share by way of its forwarder."""
    async with listening(reverse) as port:
        box = await shop.spawn(Caller().allow(ports=[port]).limit(cpus=0.5))
        groups = Path(f"/proc/{next(iter(forwarders()))}/cgroup").read_text()
        if f"-{box.id}" not in Path(f"/proc/{box.pid}/cgroup").read_text():
            pytest.skip("this machine gives boxes no cgroups")
        assert f"-{box.id}" in groups
