"""``boxhub doctor``"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, get_args

import typer
from pydantic import ValidationError
from rich.text import Text

from box_agent.node.config import DriverName, NodeSettings
from box_agent.node.doctor import examine
from hub.cli.output import AsJson, console, show_json, show_table, size
from schemas.errors import InvalidInput
from schemas.node import DriverReport, MachineReport

_WORKS = {True: "yes", False: "no"}


def doctor(
    drivers: Annotated[list[str] | None, typer.Argument(metavar="[DRIVER]...", help="Only these.")] = None,
    as_json: AsJson = False,
) -> None:
    """What this machine can do for boxes, and why not more: every driver is tried. Exit code 5: no box can be made."""
    known = get_args(DriverName)
    if unknown := [name for name in drivers or () if name not in known]:
        raise InvalidInput(f"there is no driver {unknown[0]!r}; there are {', '.join(known)}")
    try:
        settings = NodeSettings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"BOXHUB_NODE_... {wrong}") from error
    report = asyncio.run(examine(settings, [name for name in known if name in (drivers or ())]))
    if as_json:
        show_json(report.model_dump(mode="json"))
    else:
        _show(report)
    if not report.default:
        sys.exit(5)


def _show(report: MachineReport) -> None:
    out = console()
    machine = f"{report.platform}, Python {report.python}, {report.cpus} CPUs, {size(report.memory_bytes)}"
    out.print(Text(machine, style="dim"), soft_wrap=True)
    rows = (
        (d.info.name, d.info.isolation, d.info.branching, _WORKS[d.info.available], _use(d, report),
         f"{d.probe_s:.2f} s")
        for d in report.drivers
    )  # fmt: skip
    show_table(("DRIVER", "ISOLATION", "BRANCHING", "WORKS", "A NODE HERE", "TRIED IN"), rows, empty="")
    for driver in report.drivers:
        if driver.info.reason:
            _say(driver.info.name, driver.info.reason)
    if report.limits:
        _say("limits", f"the kernel holds {', '.join(report.limits)} of a box")
    if report.limits_reason:
        _say("limits", report.limits_reason)
    unused = [d.info.name for d in report.drivers if d.info.available and not d.offered]
    if unused:
        _say("unused", f"{', '.join(unused)}: works, and is offered when BOXHUB_NODE_DRIVERS names it")


def _use(driver: DriverReport, report: MachineReport) -> str:
    if driver.info.name == report.default:
        return "takes it first"
    if not driver.info.available:
        return ""
    return "offers it" if driver.offered else "does not offer it"


def _say(what: str, text: str) -> None:
    console().print(Text.assemble((f"{what}: ", "bold"), text), soft_wrap=True)
