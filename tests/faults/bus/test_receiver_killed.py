"""A receiver is killed or paused in the middle of its work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schemas.errors import CallLost, DeadlineExceeded
from tests.faults.bus.processes import Processes
from tests.integration.bus.agents import Agents, eventually


def begun(data: Any) -> Any:
    return lambda line: line.get("begun", {}).get("data") == data


def ended(data: Any) -> Any:
    return lambda line: line.get("ended") == data


@pytest.mark.parametrize("kind", ["inbox", "job"])
async def test_what_it_had_begun_is_run_again_and_told_so(agents: Agents, processes: Processes, kind: str) -> None:
    planner = await agents("planner")
    first = await processes("coder", kind=kind)
    for data in ("one", "hang", "three"):
        await (planner.send_message("coder", data) if kind == "inbox" else planner.publish_event("job", data))
    await first.wait(begun("hang"))
    await first.kill()
    assert first.all("ended") == ["one"]
    second = await processes("coder", kind=kind)
    await second.wait(begun("hang"))
    (again,) = second.all("begun")
    assert (again["data"], again["redelivered"]) == ("hang", True)
    assert again["deliveries"] >= 2  # more when the machine is so slow that a delivery lapses on its way


@pytest.mark.parametrize("again", [False, True], ids=["for good", "and started again"])
async def test_who_waits_for_its_answer_is_told_before_the_deadline(
    agents: Agents, processes: Processes, again: bool
) -> None:
    caller = await agents("caller", ask_s=0.1)
    first = await processes("worker", kind="skill")
    call = asyncio.create_task(caller.call("worker", "work", "long", timeout_s=60))
    await first.wait(lambda line: line.get("begun") == "long")
    await asyncio.sleep(0.5)  # asked five times by now, and known each time
    assert not call.done()
    await first.kill()
    if again:
        await processes("worker", kind="skill")
    async with asyncio.timeout(10):
        with pytest.raises(CallLost, match="may have been carried out"):
            await call


async def test_a_call_goes_on_while_one_of_several_instances_knows_it(agents: Agents, processes: Processes) -> None:
    caller = await agents("caller", ask_s=0.05)
    both = [await processes("worker", kind="skill") for _ in range(2)]
    calls = [asyncio.create_task(caller.call("worker", "work", str(n), timeout_s=2)) for n in range(8)]
    with pytest.raises(DeadlineExceeded):  # not lost: the other one does not know of it, forty times
        await calls[0]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in outcomes} == {DeadlineExceeded}
    assert all(receiver.all("begun") for receiver in both)


async def test_a_call_to_one_that_stands_still_goes_on(agents: Agents, processes: Processes) -> None:
    caller = await agents("caller", ask_s=0.05)
    receiver = await processes("worker", kind="skill")
    receiver.pause()
    with pytest.raises(DeadlineExceeded):
        await caller.call("worker", "work", "x", timeout_s=1)
    receiver.resume()


async def test_older_mail_is_not_overtaken_by_newer(agents: Agents, processes: Processes) -> None:
    """Killed with ten messages in hand; more of the same sender come before the server gives the ten out again."""
    planner = await agents("planner")
    first = await processes("coder", ack_wait_s=3, die_on="5")
    for number in range(15):
        await planner.send_message("coder", number)
    await first.ended()
    second = await processes("coder", ack_wait_s=3)
    for number in range(15, 25):
        await planner.send_message("coder", number)
    await second.wait(ended(24))
    handled = [*first.all("ended"), *second.all("ended")]
    assert handled == list(range(25))


async def test_older_mail_is_not_overtaken_when_nobody_was_there_for_long(agents: Agents, processes: Processes) -> None:
    """The server has given up on the dead receiver before the next one comes."""
    planner = await agents("planner")
    first = await processes("coder", ack_wait_s=1, die_on="5")
    for number in range(15):
        await planner.send_message("coder", number)
    await first.ended()
    await asyncio.sleep(2.5)  # the server's clock is what is waited for
    second = await processes("coder", ack_wait_s=1)
    for number in range(15, 25):
        await planner.send_message("coder", number)
    await second.wait(ended(24))
    assert [*first.all("ended"), *second.all("ended")] == list(range(25))


async def test_a_message_that_kills_its_process_each_time_is_dead_lettered_alone(
    agents: Agents, processes: Processes
) -> None:
    planner, other = await agents("planner"), await agents("other")
    for number in range(4):
        await planner.send_message("coder", number)
        await other.send_message("coder", f"innocent {number}")
    await planner.send_message("coder", "poison")
    for number in range(4, 8):
        await planner.send_message("coder", number)
        await other.send_message("coder", f"innocent {number}")
    lives = [await processes("coder", ack_wait_s=2, die_on="poison", ready=False)]
    letters = asyncio.ensure_future(eventually(lambda: planner.dead_letters("coder"), timeout_s=50))
    while not letters.done():
        await asyncio.wait({letters, died := asyncio.ensure_future(lives[-1].ended())}, return_when="FIRST_COMPLETED")
        if died.done():
            lives.append(await processes("coder", ack_wait_s=2, die_on="poison", ready=False))
    (letter,) = letters.result()
    tries = [line["deliveries"] for life in lives for line in life.all("begun") if line["data"] == "poison"]
    assert letter.envelope["data"] == "poison"
    assert 3 <= len(tries) <= 5  # a slow machine may let a delivery lapse before its handler begins
    assert letter.deliveries > 5 >= max(tries)
    assert "never acknowledged" in letter.cause.message
    await lives[-1].wait(ended(7))
    await eventually(lambda: "innocent 7" in [data for life in lives for data in life.all("ended")])
    everything = [data for life in lives for data in life.all("ended")]
    assert list(dict.fromkeys(data for data in everything if isinstance(data, int))) == list(range(8))
    assert {data for data in everything if not isinstance(data, int)} == {f"innocent {n}" for n in range(8)}


async def test_a_paused_receiver_that_comes_back_does_not_block_or_repeat(agents: Agents, processes: Processes) -> None:
    """Paused past ack_wait, nobody else there: what it held comes again to itself and is recognised."""
    planner = await agents("planner")
    receiver = await processes("coder", ack_wait_s=1)
    for number in range(5):
        await planner.send_message("coder", number)
    await receiver.wait(ended(4))
    receiver.pause()
    for number in range(5, 20):
        await planner.send_message("coder", number)
    await asyncio.sleep(2.5)
    receiver.resume()
    await planner.send_message("coder", 20)
    await receiver.wait(ended(20))
    assert receiver.all("ended") == list(range(21))


async def test_another_instance_takes_over_from_a_paused_one(agents: Agents, processes: Processes) -> None:
    planner = await agents("planner")
    paused = await processes("coder", ack_wait_s=1)
    await planner.send_message("coder", "hang")
    await paused.wait(begun("hang"))
    paused.pause()
    other = await processes("coder", ack_wait_s=1)
    await other.wait(begun("hang"))
    assert other.all("begun")[0]["redelivered"] is True


async def test_a_long_handler_keeps_its_message(agents: Agents, processes: Processes) -> None:
    """In-progress beats: nobody else gets it, however long it takes."""
    planner = await agents("planner")
    one = await processes("coder", ack_wait_s=1)
    await planner.send_message("coder", "hang")
    await one.wait(begun("hang"))
    two = await processes("coder", ack_wait_s=1)
    await planner.send_message("coder", "next")
    await asyncio.sleep(3.5)
    assert len(one.all("begun")) + len(two.all("begun")) <= 2
    assert [line["data"] for line in two.all("begun")] in ([], ["next"])
