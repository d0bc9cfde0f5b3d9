"""Cancelling and deadlines: when it is said that a call has ended, it has."""

from __future__ import annotations

import asyncio

import pytest

from box_agent.driver import Handle
from box_agent.worker.processes import alive
from schemas.errors import BoxDied, Cancelled, DeadlineExceeded, Unavailable
from tests.conformance.box.boxes import Lounge, Workshop
from tests.conformance.box.conftest import Flag, Workbench, ask, there


async def start(box: Handle, skill: str, flag: Flag, **options: float) -> asyncio.Task[object]:
    """The skill runs when this returns; its call's id is "c"."""
    call = asyncio.ensure_future(box.call(ask(skill, str(flag), id="c", timeout_s=options.get("timeout_s"))))
    await there(flag)
    return call


@pytest.mark.shared
@pytest.mark.parametrize(("box", "skill"), [(Workshop, "hold"), (Workshop, "spin"), (Lounge, "hold")])
async def test_a_cancel_ends_the_skill_and_leaves_the_box(
    bench: Workbench, flag: Flag, box: type[Workshop | Lounge], skill: str
) -> None:
    live = await bench.spawn(box)
    call = await start(live, skill, flag)
    assert await live.cancel("c", grace_s=10) is True
    with pytest.raises(Cancelled):
        await call
    if skill == "hold":
        assert flag.read_text() == "cancelled"
    assert await live.call(ask("add", 1, 1)) == 2
    assert await live.cancel("c") is False


@pytest.mark.shared
async def test_a_skill_may_end_in_good_order(bench: Workbench, flag: Flag) -> None:
    live = await bench.spawn(Workshop)
    call = await start(live, "until_cancelled", flag)
    await live.cancel("c", grace_s=10)
    assert await call == "ended in good order"


@pytest.mark.shared
@pytest.mark.parametrize("box", [Workshop, Lounge])
async def test_a_skill_that_is_ending_is_not_told_again(
    bench: Workbench, flag: Flag, box: type[Workshop | Lounge]
) -> None:
    """Who ends a task cancels its call, and then stops its box."""
    live = await bench.spawn(box)
    call = await start(live, "put_away", flag)
    cancel = asyncio.ensure_future(live.cancel("c", grace_s=10))
    await there(flag, "cancelled")
    await live.stop(grace_s=10)
    assert await call == "put away"
    await cancel


@pytest.mark.shared
@pytest.mark.parametrize(("box", "skill"), [(Workshop, "spin_deaf"), (Lounge, "hold_stubbornly")])
async def test_what_does_not_listen_is_killed_with_the_box(
    bench: Workbench, flag: Flag, box: type[Workshop | Lounge], skill: str
) -> None:
    live = await bench.spawn(box)
    call = await start(live, skill, flag)
    other = asyncio.ensure_future(live.call(ask("add", 1, 1)))
    await live.cancel("c", grace_s=0.2)
    assert not alive(live.pid)
    with pytest.raises(Cancelled):
        await call
    with pytest.raises(BoxDied, match="did not end when it was asked to"):
        await other
    assert (await live.wait()).error is not None


@pytest.mark.shared
async def test_a_call_that_waits_its_turn_can_be_cancelled(bench: Workbench, flag: Flag) -> None:
    for box in (Workshop, Lounge):
        flag.unlink()
        live = await bench.spawn(box)
        first = await start(live, "hold", flag)
        waiting = asyncio.ensure_future(live.call(ask("add", 1, 1, id="w")))
        await asyncio.sleep(0)
        cancelled = asyncio.ensure_future(live.cancel("w", grace_s=10))
        await asyncio.sleep(0)
        await live.cancel("c", grace_s=10)
        assert await cancelled is True
        for call in (first, waiting):
            with pytest.raises(Cancelled):
                await call
        assert await live.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
async def test_a_caller_that_leaves_takes_its_call_along(bench: Workbench, flag: Flag) -> None:
    live = await bench.spawn(Workshop)
    call = await start(live, "hold", flag)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await live.call(ask("add", 1, 1)) == 2
    assert flag.read_text() == "cancelled"


@pytest.mark.shared
@pytest.mark.parametrize(("box", "skill"), [(Workshop, "hold"), (Workshop, "spin"), (Lounge, "hold")])
async def test_the_deadline_ends_the_skill(
    bench: Workbench, flag: Flag, box: type[Workshop | Lounge], skill: str
) -> None:
    live = await bench.spawn(box)
    with pytest.raises(DeadlineExceeded) as late:
        await live.call(ask(skill, str(flag), timeout_s=0.4))
    assert late.value.details["timeout"] == "call"
    assert await live.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
async def test_a_deadline_that_had_to_kill_is_still_a_deadline(bench: Workbench, flag: Flag) -> None:
    live = await bench.spawn(Workshop)
    with pytest.raises(DeadlineExceeded):
        await live.call(ask("spin_deaf", str(flag), timeout_s=0.3))
    assert not alive(live.pid)


async def test_stop_ends_calls(bench: Workbench, flag: Flag) -> None:
    live = await bench.spawn(Workshop)
    call = await start(live, "hold", flag)
    exit = await live.stop(grace_s=10)
    assert exit.asked
    assert exit.code == 0
    with pytest.raises((Cancelled, Unavailable)):
        await call
    assert flag.read_text() == "cancelled"
