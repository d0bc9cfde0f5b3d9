"""What a confined box may read and write, and the environment as it sees it: everything at its own path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from box_agent.drivers.contained.child import Plan
from box_agent.drivers.contained.world import Wanted
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.local import rootfs
from box_agent.drivers.local.seen import for_boxes

_DEVICES: Final = ("zero", "full", "random", "urandom")


def plan(wanted: Wanted, folder: Path) -> Plan:
    """``folder`` is made, with what is private to the world."""
    own = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    for private in own.values():
        private.mkdir(mode=0o700, parents=True)
    readable = _readable(wanted)
    workspace = (wanted.workspace or folder).absolute()
    writable = ["/dev/null", *map(str, own.values()), *([str(workspace)] if wanted.workspace is not None else [])]
    return Plan(
        folder,
        _seen(wanted.environment, readable),
        workspace,
        {name: str(path) for name, path in own.items()},
        {"readable": readable, "writable": writable, "network": wanted.network},
        ("TMPDIR", str(own["TMPDIR"])),
    )


def _readable(wanted: Wanted) -> list[str]:
    etc: Sequence[str] = rootfs.ETC + (rootfs.ETC_NETWORK if wanted.network else ())
    paths = ["/usr", "/proc", *(f"/{name}" for name in rootfs.SYSTEM), *(f"/etc/{name}" for name in etc)]
    paths += [*rootfs.readable(), *(f"/dev/{name}" for name in _DEVICES)]
    paths += map(str, (wanted.environment.directory, *wanted.environment.packages, *wanted.environment.shown.values()))
    return [path for path in dict.fromkeys(paths) if Path(path).exists()]


def _seen(environment: Environment, readable: Sequence[str]) -> Environment:
    """A program that is found but forbidden would hide one that is not: so it is not on ``PATH``."""
    variables = for_boxes(environment.variables)
    places = [*variables.get("PATH", "").split(":"), str(Path(sys.executable).parent)]
    allowed = [place for place in places if place and any(Path(place).is_relative_to(path) for path in readable)]
    variables["PATH"] = ":".join(dict.fromkeys(allowed))
    return replace(environment, variables=variables)
