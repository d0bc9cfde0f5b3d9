"""The process driver with what the conformance suite has around a driver, and its parts to be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent.drivers.process.driver import ProcessDriver
from box_agent.worker import processes
from tests.conformance.box.conftest import VARIABLES, Workbench, open_descriptors


class Shop(Workbench):
    """A `Workbench` whose driver is known to be the process driver."""

    driver: ProcessDriver

    def template_pid(self, box: int) -> int:
        """The parent of a keeper."""
        return processes.parents()[box]

    @staticmethod
    def keeper_pid(worker: int) -> int:
        return processes.parents()[worker]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """Whatever a test killed: nothing may be left after it."""
    import os

    descriptors, below = open_descriptors(), set(processes.descendants(os.getpid()))
    async with ProcessDriver(tmp_path / "driver", VARIABLES) as driver:
        made = Shop(driver, tmp_path)
        yield made
    assert set(processes.descendants(os.getpid())) - below == set()
    assert processes.marked(frozenset(made.spawned)) == {}
    assert open_descriptors() == descriptors
    assert list((tmp_path / "driver" / "boxes").iterdir()) == []


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "flag"
