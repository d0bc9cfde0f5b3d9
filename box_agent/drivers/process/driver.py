"""`ProcessDriver`: live boxes as plain processes, forked from warm templates. Declares no isolation."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakValueDictionary

from box_agent.bus.scope import Scope
from box_agent.driver import LayerState, Template
from box_agent.drivers.process.environment import Environment, Environments, lay
from box_agent.drivers.process.handle import Around, ProcessHandle
from box_agent.drivers.process.leftovers import BoxFolders
from box_agent.drivers.process.limits import LimitWatch
from box_agent.drivers.process.templates import Pidfd, TemplateGone, TemplateProcess
from box_agent.worker import processes
from box_agent.worker.processes import MARKER
from schemas.box import BoxDefinition, CacheEntry, Resources, SpawnRequest
from schemas.errors import AlreadyExists, BoxDied, BoxhubError, DeadlineExceeded, DriverUnavailable
from schemas.node import DriverInfo

if TYPE_CHECKING:
    from box_agent.driver import Blobs, Surroundings

_LAUNCH_S: Final = 30.0
_SETUP_S: Final = 600.0
_FORK_S: Final = 10.0


@dataclass
class _Warm:
    """A template and what it takes to make it again."""

    template: Template
    definition: BoxDefinition
    blobs: Blobs
    environment: Environment
    process: TemplateProcess


class ProcessDriver:
    """The port is `box_agent.driver.Driver`. ``home`` is this driver's alone; ``variables`` are what boxes inherit.

    At most ``max_templates`` are kept warm, the least recently used goes first.
    """

    def __init__(self, home: Path, variables: Mapping[str, str], max_templates: int = 16) -> None:
        self._home = home = home.absolute()
        self._variables = dict(variables)
        self._max_templates = max_templates
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._environments = Environments(home / "environments", self._variables)
        self._folders = BoxFolders(home / "boxes")
        self._logs = home / "logs"
        self._logs.mkdir(exist_ok=True, mode=0o700)
        self._scope = Scope()
        self._base: TemplateProcess | None = None
        self._launching = asyncio.Lock()
        self._forks: set[asyncio.Future[None]] = set()
        self._building: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._warm: OrderedDict[str, _Warm] = OrderedDict()
        self._handles: dict[str, ProcessHandle] = {}
        self._standing: dict[str, Environment] = {}  # by box: it keeps what the box stands on
        self._starting: set[str] = set()
        self._watching = False

    @property
    def info(self) -> DriverInfo:
        works = sys.platform == "linux"
        reason = "" if works else "the process driver needs Linux: it relies on subreapers and pidfds"
        return DriverInfo(
            name="process", isolation="none", branching="fs", available=works, reason=reason, loopback=True
        )

    @property
    def templates(self) -> Sequence[Template]:
        return [w.template for w in self._warm.values()]

    async def __aenter__(self) -> Self:
        if not self.info.available:
            raise DriverUnavailable(self.info.reason)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for handle in list(self._handles.values()):
                    group.create_task(handle.stop())
        finally:
            for warm in list(self._warm.values()):
                await warm.process.aclose()
            self._warm.clear()
            if self._base is not None:
                await self._base.aclose()
            await self._scope.aclose()

    async def sweep(self) -> Sequence[str]:
        self._environments.sweep()
        return await asyncio.to_thread(self._sweep)

    def _sweep(self) -> Sequence[str]:
        """Whatever was forked from a template of this home says so in its arguments, whatever else it became."""
        own = processes.descendants(os.getpid())
        for pid in processes.with_argument(str(self._home)):
            if pid not in own:
                processes.kill_tree(pid)
        return self._folders.sweep()

    # --- templates ----------------------------------------------------------------------------------------------------

    async def build_template(self, definition: BoxDefinition, blobs: Blobs) -> Template:
        return (await self._ready(definition, blobs)).template

    async def _ready(self, definition: BoxDefinition, blobs: Blobs) -> _Warm:
        """Warm and alive; several callers at once build it once."""
        fingerprint = definition.fingerprint
        lock = self._building.setdefault(fingerprint, asyncio.Lock())
        async with lock:
            warm = self._warm.get(fingerprint)
            if warm is None or not warm.process.alive or warm.environment.expired:
                if warm is not None:
                    await self._drop(fingerprint)
                warm = self._warm[fingerprint] = await self._build(definition, blobs)
            self._warm.move_to_end(fingerprint)
        while len(self._warm) > self._max_templates:
            await self._drop(next(iter(self._warm)))
        return warm

    async def _build(self, definition: BoxDefinition, blobs: Blobs) -> _Warm:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if definition.code and definition.python and definition.python != version:
            raise DriverUnavailable(
                f"box {definition.name!r} was packed for Python {definition.python}, this node runs {version}; "
                "spawn it from the same Python, or start a node with that one"
            )
        began = time.monotonic()
        environment = await self._environments.build(definition, blobs)
        code = str(await blobs.path(definition.code)) if definition.code else ""
        notes: list[str] = []
        try:
            process = await self._load(definition, environment, code, set_up_in_box=False)
        except _Unclean as unclean:
            notes.append(f"{unclean}; so it runs again in every box")
            process = await self._load(definition, environment, code, set_up_in_box=True)
        took = time.monotonic() - began
        template = Template(definition.fingerprint, "process", round(took, 4), tuple(notes))
        return _Warm(template, definition, blobs, environment, process)

    async def _load(
        self, definition: BoxDefinition, environment: Environment, code: str, *, set_up_in_box: bool
    ) -> TemplateProcess:
        try:
            process = await (await self._first()).derive(_LAUNCH_S)
        except TemplateGone:  # it died unnoticed
            process = await (await self._first()).derive(_LAUNCH_S)
        log = self._logs / f"{definition.fingerprint[:40]}.log"
        order = {
            "op": "load",
            "directory": str(environment.directory),
            "code": code,
            "env": dict(environment.variables),
            "sys_path": [str(environment.directory), *map(str, environment.packages)],
            "log": str(log),
            "set_up_in_box": set_up_in_box,
        }
        try:
            answer = await process.order(order, (), _SETUP_S)
            if "unclean" in answer:
                raise _Unclean(answer["unclean"])
        except BaseException as error:
            await asyncio.to_thread(process.kill_all)
            await process.aclose()
            if isinstance(error, TemplateGone):
                raise BoxDied(f"the template of {definition.name!r} died while it was set up: {_tail(log)}") from error
            if isinstance(error, BoxhubError):
                error.details.update(box=definition.name, output=_tail(log))
            raise
        return process

    async def _first(self) -> TemplateProcess:
        async with self._launching:
            if self._base is None or not self._base.alive:
                if self._base is not None:
                    await self._base.aclose()
                self._base = TemplateProcess.launch(self._variables, self._home)
            return self._base

    async def remove_template(self, fingerprint: str) -> bool:
        return await self._drop(fingerprint)

    async def _drop(self, fingerprint: str) -> bool:
        warm = self._warm.pop(fingerprint, None)
        if warm is None:
            return False
        await warm.process.aclose()
        return True

    # --- cache --------------------------------------------------------------------------------------------------------

    def explain(self, definition: BoxDefinition) -> Sequence[LayerState]:
        states = self._environments.layers(definition)
        warm = self._warm.get(definition.fingerprint)
        usable = warm is not None and warm.process.alive and not warm.environment.expired
        return [*states, LayerState(usable, warm.environment.expires_at if warm is not None else None)]

    def cached(self) -> Sequence[CacheEntry]:
        return self._environments.entries()

    def prune(self, unused_s: float) -> Sequence[CacheEntry]:
        return self._environments.prune(unused_s)

    # --- boxes --------------------------------------------------------------------------------------------------------

    async def spawn(
        self, template: Template, request: SpawnRequest, directory: Path, surroundings: Surroundings
    ) -> ProcessHandle:
        box = request.id
        if box in self._handles or box in self._starting:
            raise AlreadyExists(f"box {box!r} is there already", box=box)
        known = self._warm.get(template.fingerprint)
        if known is None:
            raise DriverUnavailable(f"there is no template {template.fingerprint[:12]} any more; build it again")
        self._starting.add(box)
        try:
            async with asyncio.timeout(request.timeout_s):
                try:
                    warm = await self._ready(known.definition, known.blobs)
                    return await self._start(warm, box, directory, surroundings)
                except TemplateGone:  # it died unnoticed; a second time is no accident
                    warm = await self._ready(known.definition, known.blobs)
                    return await self._start(warm, box, directory, surroundings)
        except TemplateGone as error:
            raise BoxDied(f"the template of {known.definition.name!r} dies again and again", box=box) from error
        except TimeoutError:
            raise DeadlineExceeded(
                f"box {box!r} was not ready within {request.timeout_s:g} s", timeout="spawn", seconds=request.timeout_s
            ) from None
        finally:
            self._starting.discard(box)

    async def _start(self, warm: _Warm, box: str, directory: Path, surroundings: Surroundings) -> ProcessHandle:
        folder = self._folders.make(box)
        try:
            laid = await lay(warm.environment, directory)
            sockets, keeper = await self._fork(warm, self._spawn_order(warm, box, directory, folder))
        except BaseException as error:
            await asyncio.to_thread(self._folders.remove, box)
            if isinstance(error, ProcessLookupError):
                raise BoxDied(f"{box} ended as soon as it was made", box=box) from error
            raise
        around = Around(surroundings, self._scope, self._settle)
        handle = ProcessHandle(box, directory, laid, keeper, sockets, warm.definition.resources, around)
        self._handles[box] = handle
        self._standing[box] = warm.environment
        self._watch_limits()
        try:
            self._folders.record(box, keeper.pid)
            await handle.start()
        except BaseException:
            await handle.stop(0.0)
            raise
        return handle

    async def _fork(self, warm: _Warm, order: dict[str, Any]) -> tuple[tuple[socket.socket, socket.socket], Pidfd]:
        """Our ends of the worker's and of the keeper's socket, and the keeper."""
        worker, worker_end = socket.socketpair()
        control, control_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        under_way = asyncio.get_running_loop().create_future()
        self._forks.add(under_way)
        try:
            with worker_end, control_end:
                fds = (worker_end.fileno(), control_end.fileno())
                answer = await warm.process.order(order, fds, _FORK_S)
            return (worker, control), Pidfd(answer["pid"])
        except BaseException:
            worker.close()
            control.close()  # a keeper that was forked all the same ends its box now
            raise
        finally:
            self._forks.discard(under_way)
            asyncio.get_running_loop().call_soon(under_way.set_result, None)  # when its keeper is in `_handles`

    def _watch_limits(self) -> None:
        if not self._watching:
            self._watching = True
            self._scope.spawn(LimitWatch(lambda: self._handles).run(), "limits of boxes")

    def _spawn_order(self, warm: _Warm, box: str, directory: Path, folder: Path) -> dict[str, Any]:
        own = {MARKER: box, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PWD": str(directory)}
        return {
            "op": "spawn",
            "box": box,
            "directory": str(directory),
            "env": {**own, **warm.definition.env, MARKER: box},
            "limits": _limits(warm.definition.resources),
            "concurrency": warm.definition.resources.concurrency or 1,
        }

    async def _settle(self, box: str, orphaned: bool) -> None:
        """After the keeper's end: nothing of the box is alive, and its folder is gone."""
        if orphaned:
            await self._end_orphans(box)
            await asyncio.to_thread(processes.kill_marked, frozenset((box,)))
        await asyncio.to_thread(self._folders.remove, box)
        del self._handles[box]
        self._standing.pop(box, None)

    async def _end_orphans(self, box: str) -> None:
        """What a killed keeper left is a template's child now, or, if that is gone too, anybody's."""
        while orphans := await asyncio.to_thread(self._unknown, box):
            if self._forks:  # one of them may be a keeper that we are about to hear of
                await asyncio.wait(self._forks)
                orphans &= await asyncio.to_thread(self._unknown, box)
            for pid in orphans:
                await asyncio.to_thread(processes.kill_tree, pid)

    def _unknown(self, box: str) -> set[int]:
        """Processes forked from our templates, or adopted by them, that belong to no box but perhaps to ``box``."""
        templates = {w.process.process.pid for w in list(self._warm.values())}
        if self._base is not None:
            templates.add(self._base.process.pid)
        children = processes.families()
        kept = set(templates)
        for other in list(self._handles.values()):
            if other.id != box:
                kept.update((other.keeper, *processes.below(other.keeper, children)))
        found = {pid for template in templates for pid in children.get(template, [])}
        found.update(processes.with_argument(str(self._home)))
        return {pid for pid in found - kept if processes.alive(pid)}


class _Unclean(Exception):
    """``setup`` made something that a fork does not carry over."""


def _limits(resources: Resources) -> dict[str, int]:
    """What `setrlimit` can hold: per process, so a first line of defence and no more."""
    limits: dict[str, int] = {}
    if resources.memory_bytes is not None:
        limits["RLIMIT_DATA"] = resources.memory_bytes
    if resources.disk_bytes is not None:
        limits["RLIMIT_FSIZE"] = resources.disk_bytes
    return limits


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-4000:].strip()
    except OSError:
        return ""
