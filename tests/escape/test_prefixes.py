"""A Box on top of another one: its boxes are held as ever, and its set-up has no power over what it stands on."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from box_agent import Box, skill
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, usable
from tests.escape.conftest import outcomes, with_hole
from tests.escape.hostile import CASES

_UPPER = "import box_agent.drivers.local.upper as upper"
_SAME_STAGE = f"{_UPPER}; upper.rise = lambda covered, network: None"
_SAME_FILES = f"{_UPPER}; upper.rootfs = type('Kept', (), dict(LEFT_BYTES=0, mount_own=lambda *a, **k: None))"


@pytest.fixture(scope="session")
def held_on_a_prefix() -> dict[str, str]:
    return asyncio.run(outcomes(lower=Low()))


@pytest.mark.parametrize("case", sorted(CASES))
def test_it_is_held_on_a_prefix(held_on_a_prefix: dict[str, str], case: str) -> None:
    assert held_on_a_prefix[case].startswith("held"), held_on_a_prefix[case]


def attack() -> None:
    """On everything that is in sight, with all the power that a template has."""
    for place in ("/tmp/of-the-prefix", "/box/environment/low.txt"):
        try:
            Path(place).write_text("changed")
        except OSError:
            continue
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nobody else is there


class Low(Box, files={"low.txt": "low"}):
    def setup(self) -> None:
        Path("/tmp/of-the-prefix").write_text("whole")

    @skill
    def whole(self) -> list[str]:
        return [Path(place).read_text() for place in ("/tmp/of-the-prefix", "low.txt")]


async def what_an_attack_does(hole: str, folder: Path) -> set[str]:
    """By a set-up, to the template that it stands on and to what that one's boxes find."""
    driver = with_hole(hole)(folder / "driver", VARIABLES)
    bench = Workbench(driver, folder)
    try:
        await usable(driver)
        await bench.template(Low())
        prefix = driver._cache.get(Low().fingerprint)
        assert prefix is not None
        await bench.template(Low() + Box("attacker").warm(attack))
        found = {"the prefix is killed"} if await prefix.process.is_gone() else set()
        if await (await bench.spawn(Low())).call(ask("whole")) != ["whole", "low"]:
            found.add("its files are changed")
        return found
    finally:
        await driver.aclose()


async def test_a_setup_has_no_power_over_what_it_stands_on(tmp_path: Path) -> None:
    assert await what_an_attack_does("", tmp_path) == set()


async def test_on_the_same_stage_it_would_have_some(tmp_path: Path) -> None:
    assert await what_an_attack_does(_SAME_STAGE, tmp_path) == {"the prefix is killed"}


async def test_with_the_same_files_it_would_change_them(tmp_path: Path) -> None:
    assert await what_an_attack_does(_SAME_FILES, tmp_path) == {"its files are changed"}
