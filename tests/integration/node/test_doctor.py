"""What a machine says that it can do: found out by doing, so compared with what a node then does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from box_agent.box.box import Box
from box_agent.driver import Driver
from box_agent.drivers.absent import absent
from box_agent.drivers.local.driver import LocalDriver
from box_agent.drivers.process.driver import ProcessDriver
from box_agent.drivers.sandlock.driver import SandlockDriver
from box_agent.node.config import DriverName, NodeSettings
from box_agent.node.doctor import examine
from box_agent.node.drivers import Drivers
from box_agent.node.home import NodeHome
from box_agent.worker.processes import descendants
from schemas.box import SpawnRequest
from schemas.errors import DriverUnavailable
from schemas.node import MachineReport


def plain(home: Path) -> NodeSettings:
    return NodeSettings(name="plain", home=home, drivers=("process",))


async def test_every_driver_is_tried_and_nothing_is_left(tmp_path: Path) -> None:
    before = set(descendants(os.getpid()))
    report = await examine(plain(tmp_path))
    assert MachineReport.model_validate_json(report.model_dump_json()) == report
    assert {driver.info.name for driver in report.drivers} == set(get_args(DriverName))
    for driver in report.drivers:
        assert driver.info.available != bool(driver.info.reason), "a reason exactly where it does not work"
        assert driver.probe_s < 20
    assert [driver.info.name for driver in report.drivers if driver.offered] == [report.default] == ["process"]
    assert set(report.limits) == {"memory", "pids", "cpu"} or report.limits_reason
    assert set(descendants(os.getpid())) == before


async def test_a_node_does_what_the_doctor_said(tmp_path: Path) -> None:
    """The drivers that were found to work, and no other, are those that a node chooses from."""
    names = tuple(name for name in get_args(DriverName) if name != "boxlite")  # which takes five seconds to refuse
    settings = NodeSettings(name="all", home=tmp_path / "node", drivers=names)
    said = {d.info.name: d.info.available for d in (await examine(settings, names)).drivers}
    async with NodeHome(tmp_path / "node") as home, Drivers.of_this_machine(home, settings) as drivers:
        assert {info.name: info.available for info in drivers.infos} == said
        assert drivers.choose(_wanting()).info.name == next(name for name in names if said[name])


async def test_a_node_with_plain_processes_only_refuses_what_demands_more(tmp_path: Path) -> None:
    async with NodeHome(tmp_path / "node") as home, Drivers.of_this_machine(home, plain(tmp_path)) as drivers:
        assert drivers.choose(_wanting()).info.name == "process"
        with pytest.raises(DriverUnavailable) as refused:
            drivers.choose(_wanting("namespace"))
    assert refused.value.details["reasons"] == {"process": "isolates by 'none', at least 'namespace' is wanted"}
    assert "boxhub doctor" in refused.value.message


class Forbidden(LocalDriver):
    """On a machine that refuses user namespaces, and says so where a real one would."""

    boot = "raise PermissionError('no user namespaces here')"


async def test_where_namespaces_are_forbidden_sandlock_is_next_and_a_demand_for_more_is_refused(tmp_path: Path) -> None:
    variables = {"PATH": "/usr/bin:/bin"}
    made: list[Driver] = [
        kind(tmp_path / kind.__name__, variables) for kind in (Forbidden, SandlockDriver, ProcessDriver)
    ]
    async with Drivers(made) as drivers:
        local, landlock, _ = drivers.infos
        assert not local.available and "trial box failed" in local.reason
        if not landlock.available:
            pytest.skip(landlock.reason)
        assert drivers.choose(_wanting()).info.name == drivers.choose(_wanting("landlock")).info.name == "sandlock"
        with pytest.raises(DriverUnavailable) as refused:
            drivers.choose(_wanting("namespace"))
    reasons = refused.value.details["reasons"]
    assert "trial box failed" in reasons["local"]
    assert reasons["sandlock"] == "isolates by 'landlock', at least 'namespace' is wanted"


async def test_a_driver_whose_package_is_not_installed_says_what_to_install() -> None:
    declared = {"name": "container", "isolation": "container", "branching": "fs"}
    missing = ModuleNotFoundError("No module named 'httpx'", name="httpx")
    info = await absent(declared, "httpx", missing).probe()
    assert (info.available, info.isolation) == (False, "container")
    assert "pip install 'boxhub[container]'" in info.reason
    with pytest.raises(ModuleNotFoundError):
        absent(declared, "httpx", ModuleNotFoundError("No module named 'other'", name="other"))


def _wanting(isolation: str = "none") -> SpawnRequest:
    box = Box("demanding").require(isolation=isolation)  # type: ignore[arg-type]
    return SpawnRequest(id="demanding", definition=box.pack()[0])
