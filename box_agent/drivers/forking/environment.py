"""A definition's environment steps carried out: directories that templates and boxes are made from.

Files and commands make up one directory, packages one directory per step. All of it is cached by the hash of what went
in, so a chain of steps continues from its longest prefix that ran before. A directory gets its final name only when it
is complete.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from box_agent.worker import processes
from schemas.box import BoxDefinition, FilesStep, PipStep, RunStep, Step
from schemas.errors import DeadlineExceeded, SkillFailed
from schemas.tree import split_path

if TYPE_CHECKING:
    from box_agent.driver import Blobs

_SAID_BYTES: Final = 8000
_PIP_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Environment:
    """``directory`` is what a box's own starts as; ``packages`` go on ``sys.path``, the first wins."""

    directory: Path
    packages: tuple[Path, ...]
    variables: Mapping[str, str]
    empty: bool
    """There is nothing in ``directory``, so nothing to lay."""


CarryOut = Callable[[RunStep, Path, Sequence[Path], Mapping[str, str]], Awaitable[None]]
"""Runs one command with everything it starts, in a directory, with packages on the path and these variables.

Raises `SkillFailed` with its output when it fails, `DeadlineExceeded` at its time limit. Cancelled, it has ended.
"""


class Environments:
    """Builds and caches environments below ``home``. Concurrent builds of the same thing end in one directory."""

    def __init__(self, home: Path, variables: Mapping[str, str], carry_out: CarryOut) -> None:
        self._home = home
        self._variables = dict(variables)
        self._carry_out = carry_out
        home.mkdir(parents=True, exist_ok=True, mode=0o700)

    def sweep(self) -> None:
        """Remove what an earlier process began and did not finish."""
        for partial in self._home.glob(".partial-*"):
            shutil.rmtree(partial, ignore_errors=True)

    async def build(self, definition: BoxDefinition, blobs: Blobs) -> Environment:
        """Carries out what is not cached. Raises `SkillFailed` with the output of the step that failed."""
        packages = [await self._packages(s) for s in definition.steps if isinstance(s, PipStep)]
        packages.reverse()  # a higher layer's packages win
        variables = self._with(packages, definition.env)
        chain = [s for s in definition.steps if not isinstance(s, PipStep)]
        directory = await self._directory(chain, packages, variables, blobs)
        empty = not await asyncio.to_thread(lambda: any(directory.iterdir()))
        return Environment(directory, tuple(packages), variables, empty)

    def _with(self, packages: Sequence[Path], own: Mapping[str, str]) -> dict[str, str]:
        variables = dict(self._variables)
        if packages:
            variables["PYTHONPATH"] = ":".join(map(str, packages))
            variables["PATH"] = ":".join([*(str(p / "bin") for p in packages), variables.get("PATH", "")])
        return {**variables, **own}

    # --- packages -----------------------------------------------------------------------------------------------------

    async def _packages(self, step: PipStep) -> Path:
        target = self._home / f"pip-{_digest(['pip', sorted(step.packages), sys.version])}"
        if target.exists():
            return target
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=self._home) as partial:
            layer = Path(partial) / "layer"
            arguments = [*command, "--target", str(layer), "--", *step.packages]
            await _run(arguments, Path(partial), self._variables, _PIP_S, f"pip install {' '.join(step.packages)}")
            layer.mkdir(exist_ok=True)
            _publish(layer, target)
        return target

    # --- files and commands -------------------------------------------------------------------------------------------

    async def _directory(
        self, chain: Sequence[Step], packages: Sequence[Path], variables: Mapping[str, str], blobs: Blobs
    ) -> Path:
        """Cached after every command; files are cheap to lay again."""
        prints = [_digest(["chain"])]
        for step in chain:
            ran = [[p.name for p in packages], dict(variables), sys.version] if isinstance(step, RunStep) else []
            prints.append(_digest([prints[-1], step.model_dump(mode="json"), *ran]))
        done = max((i for i, p in enumerate(prints) if self._work(p).exists()), default=-1)
        if done == len(chain):
            return self._work(prints[-1])
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=self._home) as partial:
            work = Path(partial) / "work"
            if done > 0:
                await asyncio.to_thread(shutil.copytree, self._work(prints[done]), work, symlinks=True)
            else:
                work.mkdir()
            for index in range(max(done, 0), len(chain)):
                step = chain[index]
                if isinstance(step, FilesStep):
                    await _lay(step, work, blobs)
                elif isinstance(step, RunStep):
                    await self._carry_out(step, work, packages, variables)
                    if index + 1 < len(chain):
                        await asyncio.to_thread(self._keep, work, prints[index + 1])
            _publish(work, self._work(prints[-1]))
        return self._work(prints[-1])

    def _work(self, digest: str) -> Path:
        return self._home / f"work-{digest}"

    def _keep(self, work: Path, digest: str) -> None:
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=self._home) as partial:
            copy = Path(partial) / "work"
            shutil.copytree(work, copy, symlinks=True)
            _publish(copy, self._work(digest))


async def lay(environment: Environment, directory: Path) -> frozenset[str]:
    """Copies what the steps made to where nothing of that name is; the paths that were copied."""
    if environment.empty:
        return frozenset()
    return await asyncio.to_thread(_lay_missing, environment.directory, directory)


def _lay_missing(source: Path, directory: Path) -> frozenset[str]:
    laid: set[str] = set()
    for folder, folders, files in os.walk(source):
        relative = Path(folder).relative_to(source)
        here = directory / relative
        for name in list(folders):
            target = here / name
            if (Path(folder) / name).is_symlink():
                folders.remove(name)
                files.append(name)
            elif target.is_symlink() or (target.exists() and not target.is_dir()):
                folders.remove(name)  # a branch has something else of this name, and goes over it
            else:
                target.mkdir(exist_ok=True)
        for name in files:
            target = here / name
            if not target.is_symlink() and not target.exists():
                shutil.copy2(Path(folder) / name, target, follow_symlinks=False)
                laid.add(str(relative / name))
    return frozenset(laid)


async def _lay(step: FilesStep, work: Path, blobs: Blobs) -> None:
    for path, digest in step.files.items():
        names = split_path(path)
        source = await blobs.path(digest)
        target = work.joinpath(*names)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a command may have made it a link to somewhere else
        await asyncio.to_thread(shutil.copyfile, source, target)


def _publish(made: Path, target: Path) -> None:
    """The switch from not there to complete; somebody else's equal directory is as good."""
    try:
        made.rename(target)
    except OSError:
        if not target.exists():
            raise


async def run_here(step: RunStep, directory: Path, packages: Sequence[Path], variables: Mapping[str, str]) -> None:
    """`CarryOut` as a process beside this one."""
    await _run(["/bin/sh", "-c", step.command], directory, variables, step.timeout_s, step.command)


async def _run(
    arguments: Sequence[str], directory: Path, variables: Mapping[str, str], timeout_s: float, what: str
) -> None:
    """One command with everything it starts. Ends the tree at the deadline and when cancelled."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=directory,
        env={**variables, "HOME": str(directory.parent)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        umask=0o022,  # boxes may run as another user than this process
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        raise DeadlineExceeded(
            f"step {what!r} did not end within {timeout_s:g} s", timeout="step", seconds=timeout_s
        ) from None
    finally:
        if process.returncode is None:
            processes.kill_tree(process.pid)
            await process.wait()
    if process.returncode != 0:
        raise step_failed(what, process.returncode, output.decode(errors="replace"))


def step_failed(what: str, exit_code: int | None, output: str) -> SkillFailed:
    said = output[-_SAID_BYTES:].strip()
    return SkillFailed(
        f"step {what!r} ended with exit code {exit_code}: {said or 'it printed nothing'}",
        type="StepFailed",
        exit_code=exit_code,
        output=said,
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]
