"""What a machine can do for boxes: every driver there is, tried by doing, whether a node here would offer it or not."""

from __future__ import annotations

import asyncio
import platform
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final, get_args

from box_agent.drivers.local.cgroups import Cgroups
from box_agent.node.config import DriverName, NodeSettings, memory_bytes, usable_cpus
from box_agent.node.kinds import make
from schemas.node import DriverInfo, DriverReport, MachineReport

_LIMITS: Final = ("memory", "pids", "cpu")
_PROBE_S: Final = 20.0
"""More than any driver takes that keeps its own bounds; one that does not is told of as not available."""


async def examine(settings: NodeSettings, only: Collection[DriverName] = ()) -> MachineReport:
    """Tries all drivers at once, or ``only`` some, in directories that are gone afterwards.

    Takes `_PROBE_S` at most; mostly a second, or five where machines do not boot.
    """
    names = [*settings.drivers, *(name for name in get_args(DriverName) if name not in settings.drivers)]
    names = [name for name in names if not only or name in only]
    with tempfile.TemporaryDirectory(prefix="boxhub-doctor-") as folder:
        async with asyncio.TaskGroup() as group:
            probes = [group.create_task(_probe(name, Path(folder) / name, settings)) for name in names]
        held = Cgroups(Path(folder)).held
    reports = [probe.result() for probe in probes]
    lacking = [limit for limit in _LIMITS if limit not in held]
    return MachineReport(
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpus=usable_cpus(),
        memory_bytes=memory_bytes(),
        limits=held,
        limits_reason=_without(lacking) if lacking else "",
        drivers=reports,
        default=next((report.info.name for report in reports if report.offered and report.info.available), ""),
    )


async def _probe(name: DriverName, home: Path, settings: NodeSettings) -> DriverReport:
    began = time.monotonic()
    driver = make(name, home, settings)
    try:
        async with asyncio.timeout(_PROBE_S):
            info = await driver.probe()
    except TimeoutError:
        info = _late(driver.info)
    finally:
        await driver.aclose()
    return DriverReport(info=info, offered=name in settings.drivers, probe_s=round(time.monotonic() - began, 3))


def _late(info: DriverInfo) -> DriverInfo:
    reason = f"its trial took longer than {_PROBE_S:g} s; try again when the machine has less to do"
    return info.model_copy(update={"available": False, "reason": reason})


def _without(lacking: list[str]) -> str:
    return (
        f"no cgroup to write for {', '.join(lacking)}: these are watched from outside, but for cpu, which "
        "nobody limits; run the node as root, or as a service with delegated cgroups (systemd: Delegate=yes)"
    )
