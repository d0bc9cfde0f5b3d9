"""Boxes in virtual machines: the probe on the real boxlite, and the line to a guest without a machine around it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import pytest

from box_agent.drivers.boxlite.driver import BoxliteDriver
from box_agent.drivers.boxlite.lines import Unpacker, pack
from box_agent.worker import processes
from schemas.errors import BoxDied, SkillFailed
from tests.conformance.box.boxes import Broken, Workshop
from tests.conformance.box.conftest import VARIABLES, Workbench, ask

PROJECT = Path(__file__).parents[3]
UNCONTAINED = f"""
import sys; sys.path[:0] = [{str(PROJECT)!r}]
from tests.faults.box.uncontained import main
main(*sys.argv[2:5])
"""
"""A relay whose guest is a process of this machine: all but boxlite itself."""


class Uncontained(BoxliteDriver):
    """For its workspace it has to be told the real path: nothing is mounted anywhere."""

    boot = UNCONTAINED


async def test_the_probe_boots_or_says_within_five_seconds_what_is_missing(tmp_path: Path) -> None:
    began = time.monotonic()
    async with BoxliteDriver(tmp_path / "driver", VARIABLES) as driver:
        info = await driver.probe()
    assert time.monotonic() - began < 12, "five seconds, and what a busy machine adds"
    assert info.available or re.search("boxlite is not installed|did not boot within 5 s|kvm", info.reason)
    assert "boxlite" not in sys.modules, "a hundred megabytes, in relays only"
    assert processes.with_argument(str(tmp_path / "driver")) == []
    assert list((tmp_path / "driver" / "worlds").iterdir()) == []


def test_lines_survive_any_cut_and_what_is_no_line() -> None:
    wanted = [("order", b"{}"), ("worker", bytes(range(256)) * 3), ("keeper", b"")]
    stream = b"[    0.000000] Linux version 6\n" + b"".join(pack(*each) for each in wanted)
    for size in (1, 7, 64, len(stream)):
        unpacker, found = Unpacker(), []
        for at in range(0, len(stream), size):
            found += unpacker.feed(stream[at : at + size])
        assert found == wanted


@pytest.fixture
async def bench(tmp_path: Path):
    async with Uncontained(tmp_path / "driver", VARIABLES) as driver:
        yield Workbench(driver, tmp_path)
    assert processes.with_argument(str(tmp_path / "driver")) == []


async def test_calls_streams_and_output_go_over_the_line(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    assert await box.call(ask("add", 1, b=2)) == 3
    text = "x" * 300_000
    assert await box.call(ask("echo", text)) == text
    assert [item async for item in box.stream(ask("upto", 50), 4)] == list(range(50))
    await box.call(ask("say", "hello"))
    await bench.heard.until(lambda: "hello\n" in bench.heard.text("output"))
    exit = await box.stop()
    assert exit.asked and exit.code == 0


async def test_a_box_that_ends_by_itself_is_told(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    with pytest.raises(BoxDied) as died:
        await box.call(ask("exit_at_once", 7))
    assert died.value.details["exit_code"] == 7


async def test_what_set_up_printed_comes_over_the_line(bench: Workbench) -> None:
    with pytest.raises(SkillFailed, match="no luck") as failed:
        await bench.template(Broken)
    assert "about to fail" in failed.value.details["output"]


async def test_a_cancelled_start_leaves_no_machine(bench: Workbench, tmp_path: Path) -> None:
    await bench.template(Workshop)
    starting = asyncio.ensure_future(bench.spawn(Workshop))
    while not processes.with_argument(str(tmp_path / "driver")):  # noqa: ASYNC110 - not our event
        await asyncio.sleep(0.005)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert processes.with_argument(str(tmp_path / "driver")) == []
