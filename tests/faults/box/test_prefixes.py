"""Templates that others stand on: killed or paused at the worst moment, let go in the right order, forked cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from box_agent import Box
from box_agent.driver import Handle, Template
from box_agent.drivers.forking.cache import Warm
from box_agent.worker.processes import descendants, proportional_bytes, usage
from schemas.errors import DeadlineExceeded, SkillFailed
from tests.conformance.box.boxes import Prepared, Workshop
from tests.conformance.box.conftest import ask
from tests.conformance.box.test_prefixes import High, Low, Middle
from tests.faults.box.conftest import Shop
from tests.faults.box.test_killed import ended


def warm(shop: Shop, box: Box) -> Warm:
    found = shop.driver._cache.get(box.fingerprint)
    assert found is not None
    return found


def pid_of(shop: Shop, box: Box) -> int:
    return warm(shop, box).process.process.pid


async def dice(box: Handle, skill: str) -> str:
    return str((await box.call(ask(skill)))["dice"])


async def test_a_prefix_killed_takes_no_box_and_all_are_made_again(shop: Shop) -> None:
    low, both = await shop.spawn(Low()), await shop.spawn(Low() + Middle())
    former = await dice(low, "low")
    os.kill(pid_of(shop, Low()), signal.SIGKILL)
    await ended(pid_of(shop, Low()))
    assert await dice(low, "low") == await dice(both, "low") == former
    again = await shop.spawn(Low())
    assert await dice(again, "low") != former
    upper = await shop.spawn(Low() + Middle() + High())
    assert await upper.call(ask("high"))
    assert [state.warm for state in shop.driver.warmth((Low() + Middle() + High()).pack()[0])] == [True, True, True]


async def test_an_upper_one_killed_leaves_its_prefix(shop: Shop) -> None:
    both = await shop.spawn(Low() + Middle())
    os.kill(pid_of(shop, Low() + Middle()), signal.SIGKILL)
    assert await warm(shop, Low() + Middle()).process.is_gone()
    (state,) = [s for s in shop.driver.warmth() if s.parts == ["low", "middle"]]
    assert (state.warm, state.why) == (False, "its process has ended")
    again = await shop.spawn(Low() + Middle())
    assert await dice(again, "low") == await dice(both, "low")
    assert await dice(again, "middle") != await dice(both, "middle")


async def test_a_prefix_killed_in_the_middle_of_a_fork_is_made_again(shop: Shop) -> None:
    await shop.template(Low())
    former = pid_of(shop, Low())
    os.kill(former, signal.SIGSTOP)
    building = asyncio.ensure_future(shop.template(Low() + Middle()))
    async with asyncio.timeout(10):
        while not warm(shop, Low()).process._waiting:  # noqa: ASYNC110 - the order to derive is on its way
            await asyncio.sleep(0.005)
    os.kill(former, signal.SIGKILL)
    await building
    assert pid_of(shop, Low()) != former
    assert await (await shop.spawn(Low() + Middle())).call(ask("middle"))


async def test_a_prefix_killed_while_what_stands_on_it_is_set_up(shop: Shop) -> None:
    def slow() -> None:
        time.sleep(0.5)

    box = Low() + Box("slow").warm(slow)
    await shop.template(Low())
    former = pid_of(shop, Low())
    below = set(descendants(os.getpid()))
    building = asyncio.ensure_future(shop.template(box))
    async with asyncio.timeout(10):
        while not set(descendants(os.getpid())) - below:  # noqa: ASYNC110 - until the fork is there
            await asyncio.sleep(0.005)
    os.kill(former, signal.SIGKILL)
    await building
    assert (await (await shop.spawn(box)).call(ask("low")))["seen"]


async def test_a_paused_prefix_costs_one_spawn(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.template(Low())
    monkeypatch.setattr(f"box_agent.drivers.{shop.name}.driver.LAUNCH_S", 0.5)
    os.kill(pid_of(shop, Low()), signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        await shop.spawn(Low() + Middle())
    monkeypatch.undo()
    assert await (await shop.spawn(Low() + Middle())).call(ask("middle"))


async def test_a_keeper_killed_harms_no_template_that_is_being_made(shop: Shop) -> None:
    def slow() -> None:
        time.sleep(0.4)

    box = await shop.spawn(Low())
    building = [
        asyncio.ensure_future(shop.template(one)) for one in (Low() + Box("a").warm(slow), Workshop().warm(slow))
    ]
    await asyncio.sleep(0.2)
    os.kill(shop.keeper_pid(box.pid), signal.SIGKILL)
    await box.wait()
    await asyncio.gather(*building)


async def test_a_fork_of_a_template_has_nothing_open_of_it(shop: Shop) -> None:
    await shop.spawn(Low())
    await shop.template(Low() + Middle())
    await shop.spawn(Low() + Middle() + High())
    for lower, upper in ((Low(), Low() + Middle()), (Low() + Middle(), Low() + Middle() + High())):
        assert opened(pid_of(shop, lower)) & opened(pid_of(shop, upper)) == set()


def opened(pid: int) -> set[str]:
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    nobodys = ("/dev/null", "pid:", "anon_inode:[signalfd]")  # which each opens for itself, under one name
    return {link for link in links if not link.startswith(nobodys)}


async def test_what_others_stand_on_goes_last(shop: Shop) -> None:
    low, both, all_three = Low(), Low() + Middle(), Low() + Middle() + High()
    shop.driver._cache.most = 3
    await shop.template(all_three)
    await shop.template(Workshop())
    held = [template.fingerprint for template in shop.driver.templates]
    assert held == [low.fingerprint, both.fingerprint, Workshop().fingerprint], "the leaf went, not what was used first"
    await shop.template(both)
    await shop.template(Prepared())
    assert Workshop().fingerprint not in [template.fingerprint for template in shop.driver.templates]
    (state,) = shop.driver.warmth(Workshop().pack()[0])
    assert state.why == "it was the least recently used of more than 3 templates"


async def test_shared_memory_is_counted_once(shop: Shop) -> None:
    """Forks of one template are cheap, and the budget knows it."""
    boxes = [Low() + Box(f"upper-{n}").env(UPPER=str(n)) for n in range(6)]
    await shop.template(boxes[0])
    for box in boxes:
        await shop.template(box)
    pids = [pid_of(shop, box) for box in boxes]
    shared, resident = sum(map(proportional_bytes, pids)), usage(pids)[1]
    assert shared < resident / 2
    shop.driver._cache.most_bytes = resident // 2 + proportional_bytes(pid_of(shop, Low()))
    await shop.template(Workshop())
    assert len(shop.driver.templates) == len(boxes) + 2
    shop.driver._cache.most_bytes = shared // 2
    newest: Template
    _, newest = await shop.template(Prepared())
    assert 1 <= len(shop.driver.templates) < len(boxes)
    assert newest.fingerprint in [template.fingerprint for template in shop.driver.templates]
    assert "took" in shop.driver.warmth(boxes[0].pack()[0])[-1].why


async def test_a_setup_that_ends_its_template_leaves_the_prefix_to_others(shop: Shop) -> None:
    def fail() -> None:
        raise RuntimeError("no luck")

    live = await shop.spawn(Low())
    for _ in range(3):
        with pytest.raises(SkillFailed):
            await shop.template(Low() + Box("broken").warm(fail))
    again = await shop.spawn(Low())
    assert await dice(again, "low") == await dice(live, "low")
