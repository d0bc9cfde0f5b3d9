"""`BoxliteDriver`: live boxes in virtual machines."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from box_agent.drivers.boxlite import layout, platform
from box_agent.drivers.contained.child import BOOT, ChildWorld, Plan, end_strangers
from box_agent.drivers.contained.driver import ContainedDriver
from box_agent.drivers.contained.world import Wanted
from box_agent.drivers.container import image
from box_agent.drivers.forking.driver import MAX_TEMPLATES
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.local import rootfs, seccomp
from box_agent.drivers.local.seen import as_seen
from schemas.ids import new_id
from schemas.node import DriverInfo

_KVM: Final = Path("/dev/kvm")
_BOOT_S: Final = 5.0
"""More than ten times what a machine takes."""
_TRIAL_S: Final = 12.0
"""With what surrounds a boot that is given up: a relay's start and end, on a busy machine."""
_MEMORY_BYTES: Final = 512 * 1024 * 1024
_GUEST: Final = "import sys; sys.path.append(sys.argv[1]); from box_agent.drivers.boxlite.guest import main; main()"
_ENABLE: Final = "in a virtual machine its host has to allow nested ones, on a host its firmware has to allow them"


class BoxliteDriver(ContainedDriver):
    """Declares ``vm``: a box has a kernel of its own."""

    trial_s = _TRIAL_S
    boot: ClassVar[str] = BOOT.format(module="box_agent.drivers.boxlite.relay")

    def __init__(
        self, home: Path, variables: Mapping[str, str], max_templates: int = MAX_TEMPLATES, *, build_bytes: int = 0
    ) -> None:
        super().__init__(home, variables, max_templates, build_bytes=build_bytes)
        self._info = DriverInfo(
            name="boxlite", isolation="vm", branching="fs", available=False, reason="it was not tried yet"
        )

    @property
    def info(self) -> DriverInfo:
        return self._info

    async def probe(self) -> DriverInfo:
        """By booting a machine, which is given up after five seconds."""
        reason = _before_trying()
        if not reason and (failed := await self._try()):
            reason = f"{failed}; /dev/kvm is there, but machines have to run on it: {_ENABLE}"
        self._info = self._info.model_copy(update={"available": not reason, "reason": reason})
        return self._info

    async def _open(self, wanted: Wanted) -> ChildWorld:
        plan = self._plan(wanted)
        await asyncio.to_thread(_write_image, Path(plan.order["image"]), wanted, plan.seen)
        return await ChildWorld(self._home, plan, self.boot).open()

    def _plan(self, wanted: Wanted) -> Plan:
        folder = self._worlds_at / new_id("world")
        folder.mkdir(mode=0o700)
        seen = as_seen(wanted.environment)
        order: dict[str, Any] = {
            "home": str(folder),
            "image": str(folder / "image"),
            "boot_s": _BOOT_S,
            "command": [platform.interpreter(), "-I", "-c", _GUEST, platform.PLACE],
            "volumes": _volumes(wanted),
            "network": wanted.network,
            "cpus": wanted.resources.cpus or 1,
            "memory_bytes": wanted.resources.memory_bytes or _MEMORY_BYTES,
            "env": dict(seen.variables),
        }
        own = {"HOME": rootfs.HOME, "TMPDIR": "/tmp", "USER": "box", "LOGNAME": "box"}  # noqa: S108 - its own
        return Plan(folder, seen, Path(rootfs.WORKSPACE), own, order)

    async def _close_engine(self) -> None:
        """There is none: every machine has a relay of its own."""

    async def _sweep_worlds(self) -> None:
        await asyncio.to_thread(end_strangers, self._home)


def _write_image(folder: Path, wanted: Wanted, seen: Environment) -> None:
    """The platform, and the environment with its packages: volumes are too few for them."""
    environment = wanted.environment
    along = platform.trees()
    if not environment.empty:
        along[environment.directory] = str(seen.directory)
    along |= {source: str(target) for source, target in zip(environment.packages, seen.packages, strict=True)}
    along |= {Path(source): path for path, source in environment.shown.items()}
    layout.write(folder, image.archive(0, along))


def _volumes(wanted: Wanted) -> list[tuple[str, str, bool]]:
    """Source, target, read-only or not: three at most, for each takes an interrupt of the machine, which has few."""
    found = [("/usr", "/usr", True)]
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        found.append((sys.base_prefix, sys.base_prefix, True))
    if wanted.workspace is not None:
        found.append((str(wanted.workspace.absolute()), rootfs.WORKSPACE, False))
    return found


def _before_trying() -> str:
    if importlib.util.find_spec("boxlite") is None:
        return "the package boxlite is not installed; pip install 'boxhub[boxlite]'"
    if not seccomp.supported():
        return f"the system calls of {os.uname().machine} are not listed in box_agent.drivers.local.seccomp"
    if not _KVM.exists():
        return f"there is no {_KVM}: load the module kvm_intel or kvm_amd; {_ENABLE}"
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return f"{_KVM} may not be used by this user: add it to the group that owns it, mostly kvm"
    return ""
