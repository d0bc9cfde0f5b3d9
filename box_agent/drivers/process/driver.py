"""`ProcessDriver`: live boxes as plain processes. Declares no isolation."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from box_agent.drivers.forking.cache import Warm
from box_agent.drivers.forking.driver import LAUNCH_S, ForkingDriver, Place
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.steps import Work, run_here
from box_agent.drivers.forking.templates import TemplateProcess
from box_agent.worker import processes
from schemas.box import BoxDefinition, Resources
from schemas.errors import BoxhubError, LimitExceeded
from schemas.node import DriverInfo

_BOOT: Final = "from box_agent.worker.template import main; main({fd}, {parent})"


class ProcessDriver(ForkingDriver):
    """A box sees the machine as its node does; home and temporary directory are its own by convention only."""

    @property
    def info(self) -> DriverInfo:
        works = sys.platform == "linux"
        reason = "" if works else "the process driver needs Linux: it relies on subreapers and pidfds"
        return DriverInfo(
            name="process", isolation="none", branching="fs", available=works, reason=reason, loopback=True, warm=True
        )

    async def probe(self) -> DriverInfo:
        return self.info

    async def _launch(self) -> TemplateProcess:
        return await TemplateProcess.launch(self._variables, self._home, _BOOT, LAUNCH_S)

    async def _carry_out(self, work: Work) -> None:
        await run_here(work)

    async def _derive(
        self, base: TemplateProcess, definition: BoxDefinition, environment: Environment
    ) -> TemplateProcess:
        process, _ = await base.derive(LAUNCH_S)
        return process

    async def _grow(self, prefix: Warm, environment: Environment) -> TemplateProcess:
        process, _ = await prefix.process.derive(LAUNCH_S)
        return process

    def _seen(self, environment: Environment) -> Environment:
        return environment

    async def _place(self, warm: Warm, box: str, directory: Path, folder: Path) -> Place:
        own = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
        for private in own.values():
            private.mkdir(mode=0o700)
        return Place(directory, {name: str(private) for name, private in own.items()})

    def _exceeded(self, box: str, resources: Resources) -> LimitExceeded | None:
        return None  # nothing here is held by the kernel

    async def _discard(self, process: TemplateProcess) -> None:
        await asyncio.to_thread(process.kill_all)
        await process.aclose()

    async def _end_stages(self) -> None:
        pass  # a template's end leaves nothing here

    def _vacate(self, box: str) -> None:
        pass  # all of it is in the box's folder

    # --- the end of a box ---------------------------------------------------------------------------------------------

    async def _settle(self, box: str, orphaned: bool) -> BoxhubError | None:
        if orphaned:
            await self._end_orphans(box)
            await asyncio.to_thread(processes.kill_marked, frozenset((box,)))
        await self._forget(box)
        return None

    async def _end_orphans(self, box: str) -> None:
        """What a killed keeper left is a template's child now, or, if that is gone too, anybody's."""
        while True:
            found = await asyncio.to_thread(lambda: (processes.families(), processes.with_argument(str(self._home))))
            if self._forks:  # one of them may have been seen, and be a keeper or template that we are about to hear of
                await asyncio.wait(set(self._forks))
            strays = self._unknown(box, *found)
            if not strays:
                return
            for pid in strays:
                await asyncio.to_thread(processes.kill_tree, pid)

    def _unknown(self, box: str, children: dict[int, list[int]], ours: list[int]) -> set[int]:
        """Processes forked from our templates, or adopted by them, that belong to no box but perhaps to ``box``."""
        templates = {process.process.pid for process in (*self._loading, *(warm.process for warm in self._cache))}
        if self._base is not None:
            templates.add(self._base.process.pid)
        kept = set(templates)
        for other in list(self._handles.values()):
            if other.id != box:
                kept.update((other.keeper, *processes.below(other.keeper, children)))
        found = {*ours, *(pid for template in templates for pid in children.get(template, []))}
        return {pid for pid in found - kept if processes.alive(pid)}
