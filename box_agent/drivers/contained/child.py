"""`ChildWorld`: a world that a child of this process makes, and takes with it when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.templates import TemplateGone, TemplateProcess, template_pair
from box_agent.ending import to_the_end
from box_agent.worker import processes
from schemas.errors import BoxDied, LimitExceeded

_LAUNCH_S: Final = 30.0
_END_S: Final = 2.0
_SOURCES: Final = Path(__file__).resolve().parents[3]
BOOT: Final = "import sys; sys.path.append(sys.argv[1]); from {module} import main; main(*sys.argv[2:5])"
"""The child: ``main(control, lifeline, order)``, two descriptors and JSON."""


@dataclass(frozen=True)
class Plan:
    """``folder`` is the world's alone; its name is by what its processes are known. ``order`` is for the child."""

    folder: Path
    seen: Environment
    workspace: Path
    variables: Mapping[str, str]
    order: Mapping[str, Any]
    marker: tuple[str, str] = field(default=("", ""))
    """A variable with a value that nothing but programs in this world has."""


class ChildWorld:
    """`box_agent.drivers.contained.world.World`."""

    def __init__(self, home: Path, plan: Plan, boot: str) -> None:
        """``home`` is among the child's arguments: a sweep finds it by that."""
        self._home = home
        self._plan = plan
        self._boot = boot
        self._child: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._template: TemplateProcess | None = None

    @property
    def template(self) -> TemplateProcess:
        assert self._template is not None
        return self._template

    @property
    def seen(self) -> Environment:
        return self._plan.seen

    @property
    def workspace(self) -> Path:
        return self._plan.workspace

    @property
    def variables(self) -> Mapping[str, str]:
        return self._plan.variables

    async def open(self) -> Self:
        """Returns when its first process takes orders. Nothing is left when that fails."""
        control, far = template_pair()
        lifeline, self._lifeline = os.pipe()
        try:
            with far:
                self._child = self._start((far.fileno(), lifeline))
            self._template = TemplateProcess(control)
            await self._template.hello(_LAUNCH_S)
        except BaseException as error:
            await to_the_end(self.aclose())
            if isinstance(error, TemplateGone):
                raise BoxDied(f"a world could not be made: {error}") from error
            raise
        finally:
            os.close(lifeline)
        return self

    def _start(self, fds: tuple[int, int]) -> subprocess.Popen[bytes]:
        arguments = [str(_SOURCES), *map(str, fds), json.dumps(self._plan.order)]
        return subprocess.Popen(
            [sys.executable, "-I", "-c", self._boot, *arguments, str(self._home), str(self._plan.folder)],
            stdin=subprocess.DEVNULL,
            env=dict(self.seen.variables),
            pass_fds=fds,
            cwd="/",
        )

    def exceeded(self) -> LimitExceeded | None:
        return None  # nothing here is held by this machine's kernel

    async def aclose(self) -> None:
        """The child ends all that is in its world; one that was killed has left processes that are looked for."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._child is not None:
            try:
                await asyncio.to_thread(self._child.wait, _END_S)
            except subprocess.TimeoutExpired:
                await asyncio.to_thread(processes.kill_tree, self._child.pid)
                await asyncio.to_thread(self._child.wait)
        if self._template is not None:
            await self._template.aclose()
        await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        for pid in processes.with_argument(str(self._plan.folder)):
            processes.kill_tree(pid)
        name, value = self._plan.marker
        if value:
            processes.kill_marked(frozenset([value]), marker=name)
        shutil.rmtree(self._plan.folder, ignore_errors=True)


def end_strangers(home: Path) -> None:
    """Children of an earlier holder of this home, and what is below them. Blocking."""
    own = processes.descendants(os.getpid())
    for pid in processes.with_argument(str(home)):
        if pid not in own:
            processes.kill_tree(pid)
