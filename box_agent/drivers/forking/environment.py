"""A definition's environment steps carried out: directories that templates and boxes are made from.

Files and commands make up one directory, packages one directory per step. All of it is cached by the hash of what went
in, so a chain of steps continues from its longest prefix that ran before. A directory gets its final name only when it
is complete.

An impure step, and one that says so, is made anew when it has become too old: the time it ran, kept in a ``made-``
file, is part of the hash of its layer and of all above it. Boxes that stand on the old one keep it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from box_agent.driver import LayerState
from box_agent.drivers.forking.steps import LAYER, SCRATCH, CarryOut, Work
from schemas.box import BoxDefinition, CacheEntry, FilesStep, PipStep, RunStep, Step
from schemas.errors import SkillFailed
from schemas.tree import split_path

if TYPE_CHECKING:
    from box_agent.driver import Blobs


@dataclass(frozen=True, eq=False)
class Environment:
    """``directory`` is what a box's own starts as; ``packages`` go on ``sys.path``, the first wins.

    Its directories stay for as long as the object does: whatever stands on them holds it.
    """

    directory: Path
    packages: tuple[Path, ...]
    variables: Mapping[str, str]
    empty: bool
    """There is nothing in ``directory``, so nothing to lay."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Path in a template → directory of this machine that is seen there besides, where there is a wall at all."""
    expires_at: float | None = None
    """When its first layer becomes too old to be used for further boxes."""

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and time.time() >= self.expires_at


class Environments:
    """Builds and caches environments below ``home``. Concurrent builds of the same thing end in one directory."""

    def __init__(self, home: Path, variables: Mapping[str, str], carry_out: CarryOut) -> None:
        self._home = home
        self._variables = dict(variables)
        self._carry_out = carry_out
        self._used: WeakSet[Environment] = WeakSet()
        self._held: list[set[Path]] = []  # of builds under way
        self._making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()  # `prune` runs in a thread
        home.mkdir(parents=True, exist_ok=True, mode=0o700)

    def sweep(self) -> None:
        """Remove what an earlier process began and did not finish."""
        for partial in self._home.glob(".partial-*"):
            shutil.rmtree(partial, ignore_errors=True)

    async def build(self, definition: BoxDefinition, blobs: Blobs) -> Environment:
        """Carries out what is not cached. Raises `SkillFailed` with the output of the step that failed."""
        held: set[Path] = set()
        self._held.append(held)
        try:
            steps = [step for step in definition.steps if isinstance(step, PipStep)]
            packages = [await self._packages(step, blobs, held) for step in steps]
            packages.reverse()  # a higher layer's packages win
            variables = self._with(packages, definition.env)
            directory = await self._directory(_chain(definition), packages, variables, blobs, held)
            empty = not await asyncio.to_thread(lambda: any(directory.iterdir()))
            expiries = [layer.expires_at for layer in self.layers(definition) if layer.expires_at is not None]
            made = Environment(directory, tuple(packages), variables, empty, expires_at=min(expiries, default=None))
            with self._lock:
                self._used.add(made)
        finally:
            self._held.remove(held)
        for path in (directory, *packages):
            os.utime(path)  # used now
        return made

    def _there(self, layer: Path, held: set[Path]) -> bool:
        """Whether it is cached; if so, it stays for this build."""
        with self._lock:
            held.add(layer)
            return layer.exists()

    # --- what is cached -----------------------------------------------------------------------------------------------

    def layers(self, definition: BoxDefinition) -> list[LayerState]:
        """Of each step in order; looks, and makes nothing."""
        packages = [self._pip_layer(s) for s in definition.steps if isinstance(s, PipStep)]
        variables = self._with(packages[::-1], definition.env)
        prints = iter(self._prints(_chain(definition), packages[::-1], variables)[1:])
        cached: list[tuple[Path, float | None]] = []
        layers = iter(packages)
        for step in definition.steps:
            path = next(layers) if isinstance(step, PipStep) else self._work(next(prints))
            cached.append((path, self._expiry(path, step)))
        highest = max((i for i, (path, _) in enumerate(cached) if _is_work(path) and path.exists()), default=-1)
        return [
            LayerState(path.exists() or (_is_work(path) and i <= highest), expiry if path.exists() else None)
            for i, (path, expiry) in enumerate(cached)
        ]

    def entries(self) -> list[CacheEntry]:
        """Every layer on the disk. Walks all files for their sizes: seconds for large ones, so call it in a thread."""
        with self._lock:
            used = self._in_use()
        found = []
        for path in sorted(self._home.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                entry = CacheEntry(
                    kind="packages" if path.name.startswith("pip-") else "files",
                    id=path.name,
                    what=_content(path),
                    size_bytes=_size(path),
                    used_at=path.stat().st_mtime,
                    in_use=path in used,
                )
                found.append(entry)
        return found

    def prune(self, unused_s: float) -> list[CacheEntry]:
        """Removes layers that nothing stands on and nobody used for so long; what was removed."""
        until = time.time() - unused_s
        gone = []
        for entry in self.entries():
            layer, trash = self._home / entry.id, self._home / f".partial-pruned-{entry.id}"
            with self._lock:
                if entry.used_at > until or layer in self._in_use():
                    continue
                layer.rename(trash)  # out of sight at once; a sweep finishes what we cannot
            shutil.rmtree(trash, ignore_errors=True)
            gone.append(entry)
        return gone

    def _in_use(self) -> set[Path]:
        standing = {path for used in list(self._used) for path in (used.directory, *used.packages)}
        return standing.union(*self._held)

    def _expiry(self, path: Path, step: Step) -> float | None:
        """Until when a layer may be used."""
        lasts_s = step.lasts_s
        made_at = self._made_at(path.name.removeprefix("work-").rpartition("-")[0]) if lasts_s is not None else None
        return None if lasts_s is None or made_at is None else made_at + lasts_s

    def _made_at(self, layer: str) -> float | None:
        try:
            return float((self._home / f"made-{layer}").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _dated(self, layer: str, step: Step) -> str:
        """Name of the layer as it is now: of a step that expires, with the time it was made."""
        if not _is_dated(step):
            return layer
        made_at = self._made_at(layer)
        if made_at is None or time.time() >= made_at + (step.lasts_s or 0):
            return f"{layer}-new"
        return f"{layer}-{made_at:.6f}"

    def _date(self, layer: str) -> str:
        """Of a layer that is made now; its name from now on."""
        now = f"{time.time():.6f}"
        with tempfile.NamedTemporaryFile("w", dir=self._home, prefix=".partial-", delete=False) as file:
            file.write(now)
        Path(file.name).rename(self._home / f"made-{layer}")
        return f"{layer}-{now}"

    def _with(self, packages: Sequence[Path], own: Mapping[str, str]) -> dict[str, str]:
        variables = dict(self._variables)
        if packages:
            variables["PYTHONPATH"] = ":".join(map(str, packages))
            variables["PATH"] = ":".join([*(str(p / "bin") for p in packages), variables.get("PATH", "")])
        return {**variables, **own}

    # --- packages -----------------------------------------------------------------------------------------------------

    def _pip_layer(self, step: PipStep) -> Path:
        return self._home / self._dated(_pip_digest(step), step)

    async def _packages(self, step: PipStep, blobs: Blobs, held: set[Path]) -> Path:
        async with self._only_one(_pip_digest(step)):
            target = self._pip_layer(step)
            if self._there(target, held):
                return target
            with tempfile.TemporaryDirectory(prefix=".partial-", dir=self._home) as partial:
                directory = Path(partial) / "packages"
                directory.mkdir()
                (directory / SCRATCH).mkdir()
                wheels = await _lay_wheels(step, directory, blobs)
                await self._carry_out(Work.installing(step.packages, wheels, directory, self._variables))
                layer = directory / LAYER
                if layer.is_symlink() or (layer.exists() and not layer.is_dir()):  # a link would be followed
                    raise SkillFailed(f"{step.packages} put something else in place of their layer", type="StepFailed")
                layer.mkdir(exist_ok=True)
                if _is_dated(step):
                    target = self._home / self._date(target.name.rpartition("-")[0])
                    held.add(target)
                _publish(layer, target)
            return target

    def _only_one(self, layer: str) -> asyncio.Lock:
        """Held by whoever makes the layer: the next one finds it made."""
        return self._making.setdefault(layer, asyncio.Lock())

    # --- files and commands -------------------------------------------------------------------------------------------

    def _prints(self, chain: Sequence[Step], packages: Sequence[Path], variables: Mapping[str, str]) -> list[str]:
        """Name of the directory below the first step, and of what it is after each."""
        prints = [_digest(["chain"])]
        for step in chain:
            prints.append(self._dated(self._after(prints[-1], step, packages, variables), step))
        return prints

    def _after(self, before: str, step: Step, packages: Sequence[Path], variables: Mapping[str, str]) -> str:
        ran = [[p.name for p in packages], dict(variables), sys.version] if isinstance(step, RunStep) else []
        return _digest([before, step.model_dump(mode="json"), *ran])

    async def _directory(
        self,
        chain: Sequence[Step],
        packages: Sequence[Path],
        variables: Mapping[str, str],
        blobs: Blobs,
        held: set[Path],
    ) -> Path:
        """Cached after every command; files are cheap to lay again."""
        prints = self._prints(chain, packages, variables)
        done = max((i for i, p in enumerate(prints) if self._there(self._work(p), held)), default=-1)
        if done == len(chain):
            return self._work(prints[-1])
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=self._home) as partial:
            work = Path(partial) / "work"
            work.mkdir()
            if done > 0:
                await asyncio.to_thread(_copy_sources, self._work(prints[done]), work)
            name = prints[max(done, 0)]
            for index in range(max(done, 0), len(chain)):
                step = chain[index]
                name = self._after(name, step, packages, variables)
                if isinstance(step, FilesStep):
                    await _lay(step, work, blobs)
                elif isinstance(step, RunStep):
                    async with self._only_one(name):
                        name = await self._ran(step, name, Work.of(step, work, packages, variables), held)
            if not self._there(self._work(name), held):
                _publish(work, self._work(name))
        return self._work(name)

    async def _ran(self, step: RunStep, name: str, work: Work, held: set[Path]) -> str:
        """Name of the layer; its content is in the directory then, whoever carried it out."""
        made = self._dated(name, step)
        if self._there(self._work(made), held):  # somebody else, while we were on our way here
            await asyncio.to_thread(_start_over, work.directory, self._work(made))
            return made
        await self._carry_out(work)
        if _is_dated(step):
            name = self._date(name)
        held.add(self._work(name))
        try:
            await asyncio.to_thread(self._keep, work.directory, name)
        except shutil.Error as error:  # of what it left, which is neither file, directory nor link, or not readable
            said = "; ".join(f"{path}: {why}" for path, _, why in error.args[0][:4])
            raise SkillFailed(f"step {step.command!r} left what cannot be kept: {said}", type="StepFailed") from error
        return name

    def _work(self, digest: str) -> Path:
        return self._home / f"work-{digest}"

    def _keep(self, work: Path, digest: str) -> None:
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=self._home) as partial:
            copy = Path(partial) / "work"
            _copy_sources(work, copy)
            _publish(copy, self._work(digest))


def _chain(definition: BoxDefinition) -> list[Step]:
    return [step for step in definition.steps if not isinstance(step, PipStep)]


def _start_over(work: Path, layer: Path) -> None:
    shutil.rmtree(work)
    work.mkdir()
    _copy_sources(layer, work)


def _copy_sources(source: Path, target: Path) -> None:
    """All but compiled modules: a file that goes over its source within the same second would not be noticed."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)


def _is_dated(step: Step) -> bool:
    return step.lasts_s is not None


def _is_work(path: Path) -> bool:
    return path.name.startswith("work-")


def _content(path: Path) -> str:
    """What is in it, for people."""
    names = [p.name for p in path.iterdir()]
    packages = [n.removesuffix(".dist-info") for n in names if n.endswith(".dist-info")]
    shown = sorted(packages or names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _size(path: Path) -> int:
    """Bytes of its files; what vanishes meanwhile does not count."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - one string per file is enough
            except FileNotFoundError:
                continue
    return total


def _pip_digest(step: PipStep) -> str:
    return f"pip-{_digest(['pip', sorted(step.packages), dict(sorted(step.wheels.items())), sys.version])}"


async def _lay_wheels(step: PipStep, folder: Path, blobs: Blobs) -> list[str]:
    """pip reads a wheel's name, which a blob does not have."""
    for name, digest in step.wheels.items():
        source = await blobs.path(digest)
        await asyncio.to_thread(shutil.copyfile, source, folder.joinpath(*split_path(name)))
    return sorted(step.wheels)


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
        *folders, name = split_path(path)
        source = await blobs.path(digest)
        target = _folder(work, folders) / name
        target.unlink(missing_ok=True)  # a command may have made it a link to somewhere else
        await asyncio.to_thread(shutil.copyfile, source, target)


def _folder(work: Path, names: Sequence[str]) -> Path:
    """A directory below ``work``, really: a command may have put links to somewhere else on the way to it."""
    for name in names:
        work = work / name
        if work.is_symlink() or not work.is_dir():
            work.unlink(missing_ok=True)
            work.mkdir()
    return work


def _publish(made: Path, target: Path) -> None:
    """The switch from not there to complete; somebody else's equal directory is as good."""
    try:
        made.rename(target)
    except OSError:
        if not target.exists():
            raise


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]
