"""Every process of a driver that forks from templates killed or paused in turn."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from box_agent.driver import Handle
from box_agent.worker.processes import alive, descendants, marked, parents
from schemas.errors import BoxDied, DeadlineExceeded, LimitExceeded
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import VARIABLES, Flag, ask, there
from tests.faults.box.conftest import FORKING, Shop
from tests.faults.box.holder import BOXES


async def ended(*pids: int, within_s: float = 2.0) -> None:
    """Raises `TimeoutError` when one of them lives longer."""
    async with asyncio.timeout(within_s):
        while any(map(alive, pids)):  # noqa: ASYNC110 - other processes have no event to wait for
            await asyncio.sleep(0.01)


async def busy(box: Handle, skill: str, flag: Flag) -> asyncio.Task[object]:
    call = asyncio.ensure_future(box.call(ask(skill, str(flag), id="c", timeout_s=None)))
    await there(flag)
    return call


async def test_a_template_killed_leaves_its_boxes_and_is_made_again(shop: Shop) -> None:
    box = await shop.spawn(Workshop)
    template = shop.template_pid(box.pid)
    os.kill(template, signal.SIGKILL)
    await ended(template)
    assert await box.call(ask("next")) == 1
    again = await shop.spawn(Workshop)
    assert await again.call(ask("next")) == 1
    assert shop.template_pid(again.pid) != template
    await box.stop()


async def test_the_first_template_killed_takes_no_box(shop: Shop) -> None:
    box = await shop.spawn(Workshop)
    first = shop.first_template
    os.kill(first, signal.SIGKILL)
    await ended(first)
    assert await box.call(ask("next")) == 1
    again = await shop.spawn(Workshop)
    assert await again.call(ask("next")) == 1


async def test_a_paused_template_costs_one_spawn(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    box = await shop.spawn(Workshop)
    monkeypatch.setattr("box_agent.drivers.forking.driver._FORK_S", 0.5)
    os.kill(shop.template_pid(box.pid), signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        await shop.spawn(Workshop)
    again = await shop.spawn(Workshop)
    assert await again.call(ask("next")) == 1
    assert await box.call(ask("next")) == 1


@pytest.mark.parametrize("skill", ["family", "spin", "breed"])
async def test_a_keeper_killed_takes_its_box_along(shop: Shop, flag: Flag, skill: str) -> None:
    await shop.template(Workshop)
    before = set(descendants(os.getpid()))
    box = await shop.spawn(Workshop)
    call = await busy(box, skill, flag)
    os.kill(shop.keeper_pid(box.pid), signal.SIGKILL)
    exit = await box.wait()
    assert exit.reason == "its keeper was killed"
    assert set(descendants(os.getpid())) == before
    with pytest.raises(BoxDied, match="keeper"):
        await call


async def test_keeper_and_template_killed_together(shop: Shop, flag: Flag) -> None:
    box = await shop.spawn(Workshop)
    call = await busy(box, "hold", flag)
    keeper = shop.keeper_pid(box.pid)
    for pid in (parents()[keeper], keeper):
        os.kill(pid, signal.SIGKILL)
    await box.wait()
    assert not alive(box.pid)
    with pytest.raises(BoxDied):
        await call


async def test_a_paused_keeper_is_no_shelter(shop: Shop, flag: Flag) -> None:
    box = await shop.spawn(Workshop)
    call = await busy(box, "family", flag)
    keeper = shop.keeper_pid(box.pid)
    below = descendants(keeper)
    os.kill(keeper, signal.SIGSTOP)
    await box.stop(0.1)
    assert not any(map(alive, [keeper, *below]))
    await asyncio.wait({call})


async def test_a_box_that_writes_to_its_socket_harms_only_itself(shop: Shop) -> None:
    def scribble() -> None:
        for fd in range(3, 64):
            try:
                target = str(Path(f"/proc/self/fd/{fd}").readlink())
            except OSError:
                continue
            if target.startswith("socket:"):
                os.write(fd, b"\xff" * 100_000)

    other = await shop.spawn(Workshop)
    box = await shop.spawn(Workshop().skill(scribble))
    with pytest.raises(BoxDied):
        await box.call(ask("scribble"))
    assert await other.call(ask("next")) == 1


async def test_templates_stay_within_their_memory(shop: Shop) -> None:
    box = await shop.spawn(Workshop)
    shop.driver._cache.most_bytes = 1
    other, _ = await shop.template(Workshop().env(OTHER="template"))
    assert [t.fingerprint for t in shop.driver.templates] == [other.fingerprint], "the newest stays, whatever it takes"
    assert await box.call(ask("next")) == 1
    shop.driver._cache.most_bytes = 10**12
    again = await shop.spawn(Workshop)
    assert await again.call(ask("next")) == 1
    assert len(shop.driver.templates) == 2


async def test_too_many_processes_end_the_box(shop: Shop, flag: Flag) -> None:
    box = await shop.spawn(Workshop().limit(pids=40))
    other = await shop.spawn(Workshop)
    call = await busy(box, "breed", flag)
    with pytest.raises(LimitExceeded) as exceeded:
        await call
    assert exceeded.value.details["limit"] == "pids"
    assert await other.call(ask("next")) == 1
    assert (await box.wait()).error is not None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_node_killed_takes_everything_along(shop: Shop, tmp_path: Path, number: int) -> None:
    folder = tmp_path / "held"
    folder.mkdir()
    holder, _ = await hold(shop.name, folder)
    below = descendants(holder.pid)
    assert len(below) >= 2 + 2 * len(BOXES) + 3
    holder.send_signal(number)
    await holder.wait()
    await ended(*below)
    assert marked(frozenset(BOXES)) == {}
    left = sorted(path.name for path in (folder / "driver" / "boxes").iterdir())
    assert left == sorted(BOXES)
    async with FORKING[shop.name](folder / "driver", VARIABLES) as driver:
        assert list(await driver.sweep()) == sorted(BOXES)
        assert list((folder / "driver" / "boxes").iterdir()) == []
        assert list(await driver.sweep()) == []


async def test_what_outlives_the_node_is_swept(shop: Shop, tmp_path: Path) -> None:
    """Keepers killed while the templates cannot see it: what is left has no parent that knows it."""
    folder = tmp_path / "held"
    folder.mkdir()
    holder, workers = await hold(shop.name, folder)
    below = descendants(holder.pid)
    keepers = [parents()[worker] for worker in workers]
    template = parents()[keepers[0]]
    for pid in (template, parents()[template]):
        os.kill(pid, signal.SIGSTOP)
    for pid in (*keepers, holder.pid):
        os.kill(pid, signal.SIGKILL)
    await holder.wait()
    await ended(*keepers, *workers)
    assert any(map(alive, below))  # else this test would prove nothing
    async with FORKING[shop.name](folder / "driver", VARIABLES) as driver:
        await driver.sweep()
    await ended(*below)


async def test_what_paused_keepers_kept_is_swept(shop: Shop, tmp_path: Path) -> None:
    """They cannot see that their node has ended, so their boxes' children outlive it, until it comes back."""
    folder = tmp_path / "held"
    folder.mkdir()
    holder, workers = await hold(shop.name, folder)
    below = descendants(holder.pid)
    for worker in workers:
        os.kill(parents()[worker], signal.SIGSTOP)
    holder.kill()
    await holder.wait()
    await ended(*workers)
    if shop.name == "local":
        await ended(*below)  # the kernel ended them with their pid namespace
    else:
        assert any(map(alive, below))
    async with FORKING[shop.name](folder / "driver", VARIABLES) as driver:
        assert list(await driver.sweep()) == sorted(BOXES)
    await ended(*below)


async def hold(driver: str, folder: Path) -> tuple[asyncio.subprocess.Process, list[int]]:
    """A program with busy boxes, and the pids of their workers."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.box.holder", driver, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(30):
        workers = list(map(int, (await holder.stdout.readline()).split()))
    assert len(workers) == len(BOXES)
    return holder, workers
