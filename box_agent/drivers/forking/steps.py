"""One command of an environment step: what it is, how it runs where there is no wall, what is said when it fails."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from box_agent.worker import processes
from schemas.box import RunStep
from schemas.errors import DeadlineExceeded, SkillFailed

PIP_S: Final = 900.0
LAYER: Final = "layer"
"""Where pip puts packages, and ``SCRATCH`` what it unpacks and builds; both in the directory that it works in."""
SCRATCH: Final = "scratch"
_SAID_BYTES: Final = 8000
_PIP: Final = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir")


@dataclass(frozen=True)
class Work:
    """A shell command, ``what`` people know it as, and ``directory``, where it begins and the only one it may fill."""

    what: str
    command: str
    directory: Path
    packages: Sequence[Path]
    """On its path, the first wins."""
    variables: Mapping[str, str]
    timeout_s: float
    network: bool
    """Whether it needs the machine's network. Without it a wall, where there is one, leaves it none."""
    installs: bool = False
    """It is pip: it is told where packages come from."""

    @classmethod
    def of(cls, step: RunStep, directory: Path, packages: Sequence[Path], variables: Mapping[str, str]) -> Work:
        return cls(step.command, step.command, directory, packages, variables, step.timeout_s, step.network)

    @classmethod
    def installing(
        cls, packages: Sequence[str], wheels: Sequence[str], directory: Path, variables: Mapping[str, str]
    ) -> Work:
        """``wheels``: names of files in the directory. It fetches what they depend on, and may run what that brings."""
        arguments = [*_PIP, "--target", LAYER, "--", *packages, *(f"./{name}" for name in wheels)]
        what = f"pip install {' '.join([*packages, *wheels])}"
        command = f'export TMPDIR="$PWD/{SCRATCH}"; exec {shlex.join([sys.executable, *arguments])}'
        return cls(what, command, directory, (), variables, PIP_S, network=True, installs=True)


CarryOut = Callable[[Work], Awaitable[None]]
"""Runs it with everything it starts. Raises `SkillFailed` with the end of its output when it fails, `DeadlineExceeded`
at its time limit, `LimitExceeded`. However it ended, also cancelled, no process of it is left."""


async def run_here(work: Work) -> None:
    """`CarryOut` as a process beside this one, behind no wall. Ends the tree at the deadline and when cancelled."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        work.command,
        cwd=work.directory,
        env={**work.variables, "HOME": str(work.directory.parent)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        umask=0o022,  # boxes may run as another user than this process
    )
    try:
        async with asyncio.timeout(work.timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        raise step_overdue(work) from None
    finally:
        if process.returncode is None:
            processes.kill_tree(process.pid)
            await process.wait()
    if process.returncode != 0:
        raise step_failed(work, process.returncode, output.decode(errors="replace"))


def step_failed(work: Work, exit_code: int | None, output: str) -> SkillFailed:
    said = output[-_SAID_BYTES:].strip()
    return SkillFailed(
        f"step {work.what!r} ended with exit code {exit_code}: {said or 'it printed nothing'}",
        type="StepFailed",
        exit_code=exit_code,
        output=said,
    )


def step_overdue(work: Work, output: str = "") -> DeadlineExceeded:
    return DeadlineExceeded(
        f"step {work.what!r} did not end within {work.timeout_s:g} s",
        timeout="step",
        seconds=work.timeout_s,
        output=output[-_SAID_BYTES:].strip(),
    )
