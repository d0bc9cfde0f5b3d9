"""`SandlockDriver`: live boxes held by Landlock, where nothing stronger is to be had."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import sandlock

from box_agent.drivers.contained.child import BOOT, ChildWorld, end_strangers
from box_agent.drivers.contained.driver import ContainedDriver
from box_agent.drivers.contained.world import Wanted
from box_agent.drivers.forking.driver import MAX_TEMPLATES
from box_agent.drivers.local import seccomp
from box_agent.drivers.sandlock.allowed import plan
from schemas.ids import new_id
from schemas.node import DriverInfo


class SandlockDriver(ContainedDriver):
    """Declares ``landlock``: a box reads the system's files and its own, writes its own only, and has no network."""

    boot: ClassVar[str] = BOOT.format(module="box_agent.drivers.sandlock.inside")

    moved: ClassVar[bool] = False

    def __init__(
        self, home: Path, variables: Mapping[str, str], max_templates: int = MAX_TEMPLATES, *, build_bytes: int = 0
    ) -> None:
        super().__init__(home, variables, max_templates, build_bytes=build_bytes)
        self._info = DriverInfo(
            name="sandlock", isolation="landlock", branching="fs", available=False, reason="it was not tried yet"
        )

    @property
    def info(self) -> DriverInfo:
        return self._info

    async def probe(self) -> DriverInfo:
        reason = _before_trying() or await self._try()
        self._info = self._info.model_copy(update={"available": not reason, "reason": reason})
        return self._info

    async def _open(self, wanted: Wanted) -> ChildWorld:
        return await ChildWorld(self._home, plan(wanted, self._worlds_at / new_id("world")), self.boot).open()

    async def _close_engine(self) -> None:
        """There is none."""

    async def _sweep_worlds(self) -> None:
        await asyncio.to_thread(end_strangers, self._home)


def _before_trying() -> str:
    if sys.platform != "linux":
        return "sandlock needs Linux"
    if not seccomp.supported():
        return f"the system calls of {os.uname().machine} are not listed in box_agent.drivers.local.seccomp"
    there, needed = sandlock.landlock_abi_version(), sandlock.min_landlock_abi()
    if there < 0:
        return "the kernel has no Landlock, or it is switched off: add landlock to lsm= on the kernel's command line"
    if there < needed:
        return f"the kernel speaks Landlock {there}, sandlock needs {needed}: use Linux 6.12 or newer"
    return ""
