"""`Building`: what the box for one step of an environment is made from, and the step carried out in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from box_agent.driver import CallRequest, Handle
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.steps import Work, step_failed, step_overdue
from box_agent.drivers.local.builder import Builder
from box_agent.drivers.local.sources import sources
from schemas.box import BoxDefinition, Policy, Resources
from schemas.errors import BoxhubError, DeadlineExceeded
from schemas.ids import new_id

_OVERDUE_S: Final = 10.0
"""A step that keeps its own box from ending it in time is ended from outside so much later."""


@dataclass(frozen=True)
class Building:
    """What the box for one step is made from; its workspace is the directory of the work."""

    work: Work
    box: str
    definition: BoxDefinition
    environment: Environment
    code: bytes

    @classmethod
    def of(cls, work: Work, nothing: Path, variables: Mapping[str, str], allowed_bytes: int, *, moved: bool) -> Self:
        """``nothing``: an empty directory; ``variables``: the node's; ``moved``: see `sources`.

        ``allowed_bytes``: disk that it may take; 0: half of what is free. Not in a thread: others pack in this one.
        """
        box = new_id("build")
        definition, blobs = Builder().pack()
        told, shown = sources(variables, moved=moved) if work.installs else ({}, {})
        allowed_bytes = allowed_bytes or shutil.disk_usage(work.directory).free // 2
        own = {
            "fingerprint": box,
            "env": told,
            "resources": Resources(disk_bytes=allowed_bytes),
            "policy": Policy(network="full" if work.network else "none"),
        }
        environment = Environment(nothing, tuple(work.packages), work.variables, empty=True, shown=shown)
        return cls(work, box, definition.model_copy(update=own), environment, blobs[definition.code])

    def write_code(self, home: Path) -> Path:
        """The code that its template loads, in ``home``, where another step may be reading it. Blocking."""
        with tempfile.NamedTemporaryFile(dir=home, delete=False) as file:
            file.write(self.code)
        return Path(file.name).rename(home / "builder")

    async def carry_out(self, handle: Handle) -> None:
        """In that box; see `steps.CarryOut` for what is raised. The box is the caller's to end."""
        work = self.work
        arguments = {"command": work.command, "timeout_s": work.timeout_s}
        call = CallRequest(self.box, "carry_out", (), arguments, timeout_s=work.timeout_s + _OVERDUE_S)
        try:
            done = await handle.call(call)
        except DeadlineExceeded as error:
            raise step_overdue(work, str(error.details.get("output", ""))) from None
        except BoxhubError as error:
            error.details["step"] = work.what
            raise
        if done["exit_code"] != 0:
            raise step_failed(work, done["exit_code"], done["output"])
