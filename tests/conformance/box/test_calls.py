"""Calls: what goes in, what comes out, and what is told when it cannot."""

from __future__ import annotations

import asyncio
import signal

import pytest

from schemas.errors import (
    BoxDied,
    Conflict,
    InvalidArguments,
    InvalidInput,
    Overloaded,
    SkillFailed,
    SkillNotFound,
    Unavailable,
)
from tests.conformance.box.boxes import Lounge, Workshop
from tests.conformance.box.conftest import Flag, Workbench, ask


async def test_a_skill_answers(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    assert await box.call(ask("add", 1, b=2)) == 3
    value = {"text": "é\n", "list": [1, 2.5, None, True], "nested": {"": []}}
    assert await box.call(ask("echo", value)) == value


async def test_state_is_the_boxs_own_and_setup_ran_once_where_boxes_are_forked(bench: Workbench) -> None:
    one, two = await bench.spawn(Workshop), await bench.spawn(Workshop)
    assert [await one.call(ask("next")) for _ in range(3)] == [1, 2, 3]
    assert await two.call(ask("next")) == 1
    first, second = await one.call(ask("who")), await two.call(ask("who"))
    assert (first["set_up"] == second["set_up"]) is bench.driver.info.warm
    assert one.pid != two.pid
    assert first["session"] == first["pid"]


@pytest.mark.shared
async def test_chance_differs_between_boxes(bench: Workbench) -> None:
    dice = [tuple(await (await bench.spawn(Workshop)).call(ask("dice"))) for _ in range(3)]
    assert len({d[0] for d in dice}) == len({d[1] for d in dice}) == 3


@pytest.mark.shared
async def test_async_skills_and_sync_ones_beside_them(bench: Workbench) -> None:
    box = await bench.spawn(Lounge)
    assert await box.call(ask("nap", 0.01)) == 0.01
    assert await box.call(ask("add", 1, 2)) == 3
    with pytest.raises(SkillFailed, match="ValueError: so what"):
        await box.call(ask("fail", "so what"))


@pytest.mark.shared
async def test_calls_run_one_after_the_other_unless_the_box_says_otherwise(bench: Workbench) -> None:
    loop = asyncio.get_running_loop()
    for concurrency, fewest, most in ((1, 0.6, 5.0), (3, 0.2, 0.55)):
        box = await bench.spawn(Lounge().limit(concurrency=concurrency))
        began = loop.time()
        await asyncio.gather(*(box.call(ask("nap", 0.2)) for _ in range(3)))
        assert fewest <= loop.time() - began < most


@pytest.mark.shared
async def test_errors_say_what_happened(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    with pytest.raises(SkillFailed, match="fail: ValueError: oh no") as failed:
        await box.call(ask("fail", "oh no"))
    assert failed.value.details["type"] == "ValueError"
    assert ", in fail" in failed.value.details["traceback"]  # the line itself only where the sources can be seen
    with pytest.raises(Conflict, match="somebody was faster") as refused:
        await box.call(ask("refuse"))
    assert refused.value.details["who"] == "bob"
    with pytest.raises(InvalidArguments) as wrong:
        await box.call(ask("add", "x", b=2, c=3))
    assert len(wrong.value.details["errors"]) == 2
    with pytest.raises(SkillNotFound) as unknown:
        await box.call(ask("fly"))
    assert "add" in unknown.value.details["skills"]
    with pytest.raises(SkillFailed, match="SystemExit"):
        await box.call(ask("leave", 3))
    assert await box.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
@pytest.mark.parametrize("skill", ["unsayable", "half_a_character"])
async def test_a_result_without_json_form_is_an_error_of_the_call(bench: Workbench, skill: str) -> None:
    box = await bench.spawn(Workshop)
    with pytest.raises(InvalidInput):
        await box.call(ask(skill))
    assert await box.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
async def test_large_values_pass(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    text = "x" * 5_000_000
    assert await box.call(ask("echo", text)) == text


@pytest.mark.shared
async def test_too_many_calls_are_refused_and_the_others_answered(bench: Workbench, flag: Flag) -> None:
    box = await bench.spawn(Workshop)
    outcomes = await asyncio.gather(*(box.call(ask("echo", n)) for n in range(1000)), return_exceptions=True)
    answered = [o for o in outcomes if not isinstance(o, BaseException)]
    refused = [o for o in outcomes if isinstance(o, BaseException)]
    assert len(answered) >= 64
    assert all(isinstance(r, Overloaded) for r in refused)
    assert await box.call(ask("echo", 1)) == 1


@pytest.mark.shared
async def test_the_same_call_id_twice_at_once_is_refused(bench: Workbench) -> None:
    box = await bench.spawn(Lounge)
    first = asyncio.ensure_future(box.call(ask("nap", 0.2, id="same")))
    await asyncio.sleep(0)
    with pytest.raises(InvalidArguments, match="runs already"):
        await box.call(ask("nap", 0.2, id="same"))
    assert await first == 0.2


async def test_a_box_that_ends_fails_its_calls_and_all_later_ones(bench: Workbench) -> None:
    for end, details in (
        (ask("exit_at_once", 7), {"exit_code": 7}),
        (ask("kill_itself", signal.SIGSEGV), {"signal": signal.SIGSEGV}),
    ):
        box = await bench.spawn(Workshop)
        waiting = [asyncio.ensure_future(box.call(r)) for r in (end, ask("add", 1, 1))]
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, BoxDied)
            assert outcome.details.items() >= details.items()
        with pytest.raises(BoxDied):
            await box.call(ask("add", 1, 1))
        exit = await box.wait()
        assert not exit.asked
        assert await box.stop() == exit


@pytest.mark.shared
async def test_a_stopped_box_takes_no_calls(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    await box.stop()
    with pytest.raises(Unavailable):
        await box.call(ask("add", 1, 1))
    with pytest.raises(Unavailable):
        _ = [item async for item in box.stream(ask("upto", 2))]
    assert await box.cancel("nothing") is False
    assert (await box.stats()).processes == 0
