"""A driver that forks from templates, with what the conformance suite has around one, and its parts to be killed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent.drivers.forking.driver import ForkingDriver
from box_agent.drivers.local.driver import LocalDriver
from box_agent.drivers.process.driver import ProcessDriver
from box_agent.worker import processes
from tests.conformance.box.conftest import VARIABLES, Flag, Workbench, open_descriptors, usable

FORKING: dict[str, type[ForkingDriver]] = {"local": LocalDriver, "process": ProcessDriver}


class Shop(Workbench):
    """A `Workbench` whose driver is known to fork."""

    driver: ForkingDriver

    def __init__(self, name: str, driver: ForkingDriver, folder: Path) -> None:
        super().__init__(driver, folder)
        self.name = name

    @property
    def first_template(self) -> int:
        assert self.driver._base is not None
        return self.driver._base.process.pid

    @staticmethod
    def template_pid(worker: int) -> int:
        parents = processes.parents()
        return parents[parents[worker]]

    @staticmethod
    def keeper_pid(worker: int) -> int:
        return processes.parents()[worker]


@pytest.fixture(params=sorted(FORKING))
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    """Whatever a test killed: nothing may be left after it."""
    descriptors, below = open_descriptors(), set(processes.descendants(os.getpid()))
    driver = FORKING[request.param](tmp_path / "driver", VARIABLES)
    try:
        await usable(driver)
        made = Shop(request.param, driver, tmp_path)
        yield made
    finally:
        await driver.aclose()
    assert set(processes.descendants(os.getpid())) - below == set()
    assert processes.marked(frozenset(made.spawned)) == {}
    assert open_descriptors() == descriptors
    assert list((tmp_path / "driver" / "boxes").iterdir()) == []


@pytest.fixture
def flag(tmp_path: Path) -> Flag:
    return Flag(tmp_path / "work")
