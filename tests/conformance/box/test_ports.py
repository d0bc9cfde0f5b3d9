"""Single ports of the machine's loopback, in boxes that were granted them."""

from __future__ import annotations

import pytest

from schemas.errors import SkillFailed
from tests.conformance.box.conftest import Workbench, ask
from tests.conformance.box.outside import Caller, Eager, break_off, digest, listening, reverse


@pytest.fixture(autouse=True)
def _declared(bench: Workbench) -> None:
    if not bench.driver.info.loopback:
        pytest.skip(f"driver {bench.driver.info.name!r} declares no ports")


async def test_a_granted_port_answers_and_each_direction_ends_by_itself(bench: Workbench) -> None:
    async with listening(reverse) as port, listening(reverse) as other:
        box = await bench.spawn(Caller().allow(ports=[port, other]))
        assert await box.call(ask("exchange", port, "hello")) == "olleh"
        assert await box.call(ask("exchange", other, "again")) == "niaga"


async def test_megabytes_pass_in_both_directions(bench: Workbench) -> None:
    async with listening(digest) as port:
        box = await bench.spawn(Caller().allow(ports=[port]))
        assert await box.call(ask("much", port, 8 * 2**20))


async def test_a_broken_connection_is_not_taken_for_a_complete_one(bench: Workbench) -> None:
    async with listening(break_off) as port:
        box = await bench.spawn(Caller().allow(ports=[port]))
        assert await box.call(ask("begin", port, "x")) == "reset"


async def test_where_nobody_listens_there_is_no_silence(bench: Workbench) -> None:
    """Refused by the kernel, or, where that has accepted it in the box already, broken."""
    async with listening(reverse) as port:
        box = await bench.spawn(Caller().allow(ports=[port]))
    assert await box.call(ask("begin", port, "x", timeout_s=10)) in ("reset", "refused")


async def test_what_is_set_up_in_the_box_has_its_ports(bench: Workbench) -> None:
    async with listening(reverse) as port:
        directory = bench.directory("eager")
        (directory / "port").write_text(str(port))
        box = await bench.spawn(Eager().allow(ports=[port]), directory=directory)
        assert await box.call(ask("heard")) == "ylrae"


async def test_a_port_that_was_not_granted_is_not_there(bench: Workbench) -> None:
    if bench.driver.info.isolation == "none":
        pytest.skip("it sees the machine as it is")
    async with listening(reverse) as port, listening(reverse) as other:
        box = await bench.spawn(Caller().allow(ports=[port]))
        with pytest.raises(SkillFailed, match="refused"):
            await box.call(ask("exchange", other, "hello"))
        beside = await bench.spawn(Caller)
        with pytest.raises(SkillFailed, match="refused"):
            await beside.call(ask("exchange", port, "hello"))
