"""`ForkingDriver`: live boxes forked from warm templates. What they stand on is the business of its adapters."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakValueDictionary

from box_agent.bus.scope import Scope
from box_agent.driver import LayerState, Template
from box_agent.drivers.forking.environment import Environment, Environments, lay
from box_agent.drivers.forking.handle import Around, ForkedHandle
from box_agent.drivers.forking.keeping import control_pair, keeper_of
from box_agent.drivers.forking.leftovers import BoxFolders
from box_agent.drivers.forking.limits import OPEN_FILES, LimitWatch
from box_agent.drivers.forking.peers import close_all
from box_agent.drivers.forking.templates import Pidfd, TemplateGone, TemplateProcess
from box_agent.worker import processes
from box_agent.worker.processes import MARKER
from schemas.box import BoxDefinition, CacheEntry, Resources, RunStep, SpawnRequest
from schemas.errors import AlreadyExists, BoxDied, BoxhubError, DeadlineExceeded, DriverUnavailable, LimitExceeded
from schemas.node import DriverInfo

if TYPE_CHECKING:
    from box_agent.driver import Blobs, Surroundings

MAX_TEMPLATES: Final = 16
LAUNCH_S: Final = 30.0
_SETUP_S: Final = 600.0
_FORK_S: Final = 10.0


@dataclass
class Warm:
    """A template and what it takes to make it again."""

    template: Template
    definition: BoxDefinition
    blobs: Blobs
    environment: Environment
    process: TemplateProcess
    memory_bytes: int = 0
    """When it was made; what it shares with others is counted in parts."""


@dataclass(frozen=True)
class Place:
    """Where one box is to live, as it will see it. ``fds`` go to the template with the order and are closed then."""

    workspace: Path
    variables: Mapping[str, str]
    details: Mapping[str, Any] = field(default_factory=dict)
    fds: Sequence[int] = ()


class ForkingDriver(ABC):
    """The port is `box_agent.driver.Driver`. ``home`` is this driver's alone; ``variables`` are what boxes inherit.

    At most ``max_templates`` are kept warm, and of several not more than ``template_bytes`` of memory together (0: no
    such limit); the least recently used goes first.
    """

    def __init__(
        self, home: Path, variables: Mapping[str, str], max_templates: int = MAX_TEMPLATES, template_bytes: int = 0
    ) -> None:
        self._home = home = home.absolute()
        self._variables = dict(variables)
        self._max_templates = max_templates
        self._template_bytes = template_bytes
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._environments = Environments(home / "environments", self._variables, self._carry_out)
        self._folders = BoxFolders(home / "boxes")
        self._logs = home / "logs"
        self._logs.mkdir(exist_ok=True, mode=0o700)
        self._scope = Scope()
        self._base: TemplateProcess | None = None
        self._launching = asyncio.Lock()
        self._forks: set[asyncio.Future[None]] = set()
        self._building: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._warm: OrderedDict[str, Warm] = OrderedDict()
        self._handles: dict[str, ForkedHandle] = {}
        self._standing: dict[str, Environment] = {}  # by box: it keeps what the box stands on
        self._starting: set[str] = set()
        self._watching = False

    # --- what adapters say ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def info(self) -> DriverInfo: ...

    @abstractmethod
    async def probe(self) -> DriverInfo: ...

    @abstractmethod
    async def _launch(self) -> TemplateProcess:
        """The first template, with the platform's imports only."""

    @abstractmethod
    async def _carry_out(
        self, step: RunStep, directory: Path, packages: Sequence[Path], variables: Mapping[str, str]
    ) -> None:
        """A command of the environment; see `environment.CarryOut`."""

    @abstractmethod
    async def _derive(
        self, base: TemplateProcess, definition: BoxDefinition, environment: Environment
    ) -> TemplateProcess:
        """A fork of it that nothing was loaded into."""

    @abstractmethod
    def _seen(self, environment: Environment) -> Environment:
        """The environment with the paths and variables that a template has for it."""

    @abstractmethod
    async def _place(self, warm: Warm, box: str, directory: Path, folder: Path) -> Place:
        """Make what a box needs before it is forked. Whatever it raises, `_vacate` comes next."""

    @abstractmethod
    def _vacate(self, box: str) -> None:
        """Remove what `_place` made for a box that was not forked, or may have been and ends. Blocking."""

    @abstractmethod
    async def _settle(self, box: str, orphaned: bool) -> BoxhubError | None:
        """After the keeper's end: see to it that nothing of the box is left, then `_forget` it.

        ``orphaned``: it ended without its last word. Returns why the box had to end, if that can be known.
        """

    @abstractmethod
    def _exceeded(self, box: str, resources: Resources) -> LimitExceeded | None:
        """Which limit the kernel holds a box at, or ended it for. Blocking."""

    @abstractmethod
    async def _discard(self, process: TemplateProcess) -> None:
        """End a template that never became ready, with everything below it."""

    @abstractmethod
    async def _end_stages(self) -> None:
        """Boxes and templates have ended; the first template is about to."""

    # --- lifetime -------------------------------------------------------------------------------------------------

    @property
    def templates(self) -> Sequence[Template]:
        return [w.template for w in self._warm.values()]

    async def __aenter__(self) -> Self:
        info = await self.probe()
        if not info.available:
            raise DriverUnavailable(info.reason)
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
            await self._end_stages()
            if self._base is not None:
                await self._base.aclose()
            await self._scope.aclose()

    async def sweep(self) -> Sequence[str]:
        if sys.platform != "linux":
            return []  # nothing was ever started here
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

    async def _ready(self, definition: BoxDefinition, blobs: Blobs) -> Warm:
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
        while self._too_many():
            await self._drop(next(iter(self._warm)))
        return warm

    def _too_many(self) -> bool:
        if len(self._warm) > self._max_templates:
            return True
        held = sum(warm.memory_bytes for warm in self._warm.values())
        return len(self._warm) > 1 and 0 < self._template_bytes < held

    async def _build(self, definition: BoxDefinition, blobs: Blobs) -> Warm:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if definition.code and definition.python and definition.python != version:
            raise DriverUnavailable(
                f"box {definition.name!r} was packed for Python {definition.python}, this node runs {version}; "
                "spawn it from the same Python, or start a node with that one"
            )
        began = time.monotonic()
        environment = await self._environments.build(definition, blobs)
        code = await blobs.path(definition.code) if definition.code else None
        notes: list[str] = []
        try:
            process = await self._load(definition, environment, code, set_up_in_box=False)
        except _Unclean as unclean:
            notes.append(f"{unclean}; so it runs again in every box")
            process = await self._load(definition, environment, code, set_up_in_box=True)
        took = time.monotonic() - began
        template = Template(definition.fingerprint, self.info.name, round(took, 4), tuple(notes))
        memory = await asyncio.to_thread(processes.proportional_bytes, process.process.pid)
        return Warm(template, definition, blobs, environment, process, memory)

    async def _load(
        self, definition: BoxDefinition, environment: Environment, code: Path | None, *, set_up_in_box: bool
    ) -> TemplateProcess:
        try:
            process = await self._derive(await self._first(), definition, environment)
        except TemplateGone:  # it died unnoticed; a second time is no accident
            try:
                process = await self._derive(await self._first(), definition, environment)
            except TemplateGone as error:
                raise BoxDied(f"the template of {definition.name!r} ends before it is loaded: {error}") from error
        log = self._logs / f"{definition.fingerprint[:40]}.log"
        seen = self._seen(environment)
        order = {
            "op": "load",
            "directory": str(seen.directory),
            "env": dict(seen.variables),
            "sys_path": [str(seen.directory), *map(str, seen.packages)],
            "set_up_in_box": set_up_in_box,
        }
        fds = [os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)]
        try:
            if code is not None:
                fds.append(os.open(code, os.O_RDONLY | os.O_CLOEXEC))
            answer = (await process.order(order, fds, _SETUP_S)).content
            if "unclean" in answer:
                raise _Unclean(answer["unclean"])
        except BaseException as error:
            await self._discard(process)
            if isinstance(error, TemplateGone):
                raise BoxDied(f"the template of {definition.name!r} died while it was set up: {_tail(log)}") from error
            if isinstance(error, BoxhubError):
                error.details.update(box=definition.name, output=_tail(log))
            raise
        finally:
            close_all(tuple(fds))
        return process

    async def _first(self) -> TemplateProcess:
        async with self._launching:
            if self._base is None or not self._base.alive:
                if self._base is not None:
                    await self._base.aclose()
                self._base = None
                self._base = await self._launch()
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
    ) -> ForkedHandle:
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

    async def _start(self, warm: Warm, box: str, directory: Path, surroundings: Surroundings) -> ForkedHandle:
        folder = self._folders.make(box)
        try:
            laid = await lay(warm.environment, directory)
            place = await self._place(warm, box, directory, folder)
            sockets, keeper = await self._fork(warm, box, place)
        except BaseException as error:
            await self._undo(box)
            if isinstance(error, ProcessLookupError):
                raise BoxDied(f"{box} ended as soon as it was made", box=box) from error
            raise
        around = Around(surroundings, self._scope, self._settle)
        handle = ForkedHandle(
            box, directory, place.workspace, laid, keeper, sockets, warm.definition.resources, around
        )  # fmt: skip
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

    async def _fork(self, warm: Warm, box: str, place: Place) -> tuple[tuple[socket.socket, socket.socket], Pidfd]:
        """Our ends of the worker's and of the keeper's socket, and the keeper."""
        worker, worker_end = socket.socketpair()
        control, control_end = control_pair()
        under_way = asyncio.get_running_loop().create_future()
        self._forks.add(under_way)
        try:
            with worker_end, control_end:
                fds = (worker_end.fileno(), control_end.fileno(), *place.fds)
                await warm.process.order(_spawn_order(warm, box, place), fds, _FORK_S)
            async with asyncio.timeout(_FORK_S):
                keeper = await keeper_of(control, box)
            return (worker, control), Pidfd(keeper)
        except BaseException:
            worker.close()
            control.close()  # a keeper that was forked all the same ends its box now
            raise
        finally:
            close_all(tuple(place.fds))
            self._forks.discard(under_way)
            asyncio.get_running_loop().call_soon(under_way.set_result, None)  # when its keeper is in `_handles`

    def _watch_limits(self) -> None:
        if not self._watching:
            self._watching = True
            self._scope.spawn(LimitWatch(lambda: self._handles, self._exceeded).run(), "limits of boxes")

    async def _undo(self, box: str) -> None:
        """What was prepared for a box that came to nothing; to its end, also when its caller is cancelled meanwhile."""

        def undo() -> None:
            self._vacate(box)
            self._folders.remove(box)

        undoing = asyncio.ensure_future(asyncio.to_thread(undo))
        try:
            await asyncio.shield(undoing)
        except asyncio.CancelledError:
            await asyncio.wait({undoing})
            raise

    async def _forget(self, box: str) -> None:
        """Its folder, and its handle."""
        await asyncio.to_thread(self._folders.remove, box)
        del self._handles[box]
        self._standing.pop(box, None)


class _Unclean(Exception):
    """``setup`` made something that a fork does not carry over."""


def _spawn_order(warm: Warm, box: str, place: Place) -> dict[str, Any]:
    return {
        "op": "spawn",
        "box": box,
        "directory": str(place.workspace),
        "env": {"PWD": str(place.workspace), **place.variables, **warm.definition.env, MARKER: box},
        "limits": _limits(warm.definition.resources),
        "concurrency": warm.definition.resources.concurrency or 1,
        **place.details,
    }


def _limits(resources: Resources) -> dict[str, int]:
    """What `setrlimit` can hold: per process, so a first line of defence and no more."""
    limits = {"RLIMIT_NOFILE": OPEN_FILES}
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
