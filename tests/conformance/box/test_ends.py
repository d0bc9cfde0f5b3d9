"""The end of a box is the end of everything in it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from box_agent.worker.processes import alive
from schemas.errors import AlreadyExists, BoxDied
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import Flag, Workbench, ask, there


@pytest.mark.parametrize("how", ["stop", "cancel", "kill", "exit"])
async def test_children_sessions_and_daemons_end_with_the_box(bench: Workbench, flag: Flag, how: str) -> None:
    await bench.template(Workshop)
    before = bench.processes()
    box = await bench.spawn(Workshop)
    call = asyncio.ensure_future(box.call(ask("family", str(flag), id="c")))
    await there(flag)
    assert len(bench.processes() - before) >= 4
    match how:
        case "stop":
            await box.stop(0)
        case "cancel":
            await box.cancel("c")
            await box.stop()
        case "kill":
            os.kill(box.pid, signal.SIGKILL)
            await box.wait()
        case "exit":
            await box.cancel("c")
            with pytest.raises(BoxDied):
                await box.call(ask("exit_at_once", 0))
    assert bench.processes() == before
    await asyncio.wait({call})


async def test_processes_that_multiply_end_too(bench: Workbench, flag: Flag) -> None:
    await bench.template(Workshop)
    before = bench.processes()
    box = await bench.spawn(Workshop)
    call = asyncio.ensure_future(box.call(ask("breed", str(flag))))
    await there(flag)
    while len(bench.processes() - before) < 30:  # noqa: ASYNC110 - other processes have no event to wait for
        await asyncio.sleep(0.01)
    await box.stop(0)
    assert bench.processes() == before
    await asyncio.wait({call})


@pytest.mark.shared
async def test_a_paused_box_is_stopped(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    os.kill(box.pid, signal.SIGSTOP)
    exit = await box.stop(0.1)
    assert not alive(box.pid)
    assert exit.asked
    assert exit.signal == signal.SIGKILL


async def test_stop_may_be_called_often_and_by_many(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    exits = await asyncio.gather(*(box.stop() for _ in range(5)), box.wait())
    assert len(set(exits)) == 1
    assert await box.stop(0) == exits[0]


async def test_an_id_is_free_again_when_its_box_has_ended(bench: Workbench) -> None:
    box = await bench.spawn(Workshop, id="one")
    with pytest.raises(AlreadyExists):
        await bench.spawn(Workshop, id="one", directory=bench.directory("other"))
    await box.stop()
    again = await bench.spawn(Workshop, id="one", directory=bench.directory("another"))
    assert await again.call(ask("next")) == 1


async def test_closing_the_driver_ends_its_boxes(bench: Workbench, flag: Flag) -> None:
    boxes = [await bench.spawn(Workshop) for _ in range(3)]
    call = asyncio.ensure_future(boxes[0].call(ask("family", str(flag))))
    await there(flag)
    await bench.driver.aclose()
    for box in boxes:
        assert (await box.wait()).asked
        assert not alive(box.pid)
    await asyncio.wait({call})
    await bench.driver.aclose()


async def test_stats_count_the_whole_family(bench: Workbench, flag: Flag) -> None:
    box = await bench.spawn(Workshop)
    alone = await box.stats()
    assert alone.processes == 1
    assert alone.rss_bytes > 1_000_000
    call = asyncio.ensure_future(box.call(ask("family", str(flag))))
    await there(flag)
    assert (await box.stats()).processes >= 4
    await box.stop(0)
    await asyncio.wait({call})


@pytest.mark.shared
async def test_a_hundred_boxes_one_after_the_other(bench: Workbench) -> None:
    """The fixture counts what is left."""
    for n in range(100):
        box = await bench.spawn(Workshop)
        assert await box.call(ask("add", n, 1)) == n + 1
        await box.stop(0)
