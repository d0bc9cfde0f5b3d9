"""`ForkingDriver`: live boxes forked from warm templates. What they stand on is the business of its adapters."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from box_agent.bus.scope import Scope
from box_agent.driver import LayerState, Template
from box_agent.drivers.forking.cache import TemplateCache, Warm
from box_agent.drivers.forking.environment import Environment, Environments, lay
from box_agent.drivers.forking.handle import Around, ForkedHandle
from box_agent.drivers.forking.keeping import control_pair, keeper_of
from box_agent.drivers.forking.leftovers import BoxFolders
from box_agent.drivers.forking.limits import LimitWatch, rlimits
from box_agent.drivers.forking.loading import Apart, Late, Unclean, below, load
from box_agent.drivers.forking.peers import close_all
from box_agent.drivers.forking.steps import Work
from box_agent.drivers.forking.templates import Pidfd, TemplateGone, TemplateProcess
from box_agent.worker import processes
from box_agent.worker.processes import MARKER
from schemas.box import BoxDefinition, CacheEntry, Resources, SpawnRequest, WarmState, codes_of
from schemas.errors import AlreadyExists, BoxDied, BoxhubError, DeadlineExceeded, DriverUnavailable, LimitExceeded
from schemas.node import DriverInfo

if TYPE_CHECKING:
    from box_agent.driver import Blobs, Surroundings

MAX_TEMPLATES: Final = 32
LAUNCH_S: Final = 30.0
_FORK_S: Final = 10.0


Fork = Callable[[BoxDefinition, Environment], Awaitable[TemplateProcess]]
"""From which template another one is forked."""


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
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._environments = Environments(home / "environments", self._variables, self._carry_out)
        self._folders = BoxFolders(home / "boxes")
        self._logs = home / "logs"
        self._logs.mkdir(exist_ok=True, mode=0o700)
        self._scope = Scope()
        self._base: TemplateProcess | None = None
        self._launching = asyncio.Lock()
        self._forks: set[asyncio.Future[None]] = set()
        self._loading: set[TemplateProcess] = set()
        self._cache = TemplateCache(self._build, max_templates, template_bytes)
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
    async def _carry_out(self, work: Work) -> None:
        """A command of the environment; see `steps.CarryOut`."""

    @abstractmethod
    async def _derive(
        self, base: TemplateProcess, definition: BoxDefinition, environment: Environment
    ) -> TemplateProcess:
        """A fork of it that nothing was loaded into."""

    @abstractmethod
    async def _grow(self, prefix: Warm, environment: Environment) -> TemplateProcess:
        """A fork of a warm template for a Box that stands on it, where that Box's environment is seen."""

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
        return [warm.template for warm in self._cache]

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
            await self._cache.aclose()
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
        return (await self._cache.ready(definition, blobs)).template

    async def _build(self, definition: BoxDefinition, blobs: Blobs) -> Warm:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if definition.code and definition.python and definition.python != version:
            raise DriverUnavailable(
                f"box {definition.name!r} was packed for Python {definition.python}, this node runs {version}; "
                "spawn it from the same Python, or start a node with that one"
            )
        began = time.monotonic()
        environment = await self._environments.build(definition, blobs)
        made: TemplateProcess | None = None
        lower, prefix, notes = below(definition), "", list[str]()
        if lower is not None:
            try:
                made, notes = await self._on_top(definition, environment, lower, blobs)
                prefix = lower.fingerprint
            except Apart as apart:
                notes.append(f"{' + '.join(definition.parts)} are set up together: {apart}")
        if made is None:
            codes = [await blobs.path(code) for code in codes_of(definition)]
            made, said = await self._prepare(definition, environment, codes, self._fresh)
            notes += said
        took = round(time.monotonic() - began, 4)
        template = Template(definition.fingerprint, self.info.name, took, tuple(notes), prefix)
        return Warm(template, definition, blobs, environment, made)

    async def _on_top(
        self, definition: BoxDefinition, environment: Environment, lower: BoxDefinition, blobs: Blobs
    ) -> tuple[TemplateProcess, list[str]]:
        """As `_prepare`, from the template of its prefix, which is made if need be: only what is new is loaded."""
        codes = [await blobs.path(definition.code)] if definition.code else []
        for last in (False, True):
            async with self._cache.prefix(lower, blobs) as prefix:

                async def fork(
                    definition: BoxDefinition, environment: Environment, prefix: Warm = prefix
                ) -> TemplateProcess:
                    return await self._grow(prefix, environment)

                try:
                    process, notes = await self._prepare(definition, environment, codes, fork)
                    return process, [*prefix.template.notes, *notes]
                except (TemplateGone, BoxDied) as error:
                    if last or not await prefix.process.is_gone():
                        raise BoxDied(f"the template of {lower.name!r} ended again and again: {error}") from error
        raise AssertionError("the second time returns or raises")

    async def _prepare(
        self, definition: BoxDefinition, environment: Environment, codes: Sequence[Path], fork: Fork
    ) -> tuple[TemplateProcess, list[str]]:
        """A fork with the code loaded, and what is to be known of it. Raises as `load` does; nothing is left then."""
        late: Late = ""
        notes: list[str] = []
        log = self._logs / f"{definition.fingerprint[:40]}.log"
        while True:
            process = await self._noted(fork(definition, environment))
            try:
                await load(process, definition, self._seen(environment), codes, log, late)
                return process, notes
            except BaseException as error:
                await self._discard(process)
                if not isinstance(error, Unclean):
                    raise
                late = error.late
                notes.append(str(error))
            finally:
                self._loading.discard(process)

    async def _noted(self, forking: Awaitable[TemplateProcess]) -> TemplateProcess:
        """Known as ours as soon as whoever looks for strays has waited for the forks that are under way."""
        under_way = asyncio.get_running_loop().create_future()
        self._forks.add(under_way)
        try:
            process = await forking
            self._loading.add(process)
            return process
        finally:
            self._forks.discard(under_way)
            under_way.set_result(None)

    async def _fresh(self, definition: BoxDefinition, environment: Environment) -> TemplateProcess:
        """One that nothing was loaded into."""
        try:
            return await self._derive(await self._first(), definition, environment)
        except TemplateGone:  # it died unnoticed; a second time is no accident
            try:
                return await self._derive(await self._first(), definition, environment)
            except TemplateGone as error:
                raise BoxDied(f"the template of {definition.name!r} ends before it is loaded: {error}") from error

    async def _first(self) -> TemplateProcess:
        async with self._launching:
            if self._base is None or not self._base.alive:
                if self._base is not None:
                    await self._base.aclose()
                self._base = None
                self._base = await self._launch()
            return self._base

    async def remove_template(self, fingerprint: str) -> bool:
        return await self._cache.remove(fingerprint)

    # --- cache --------------------------------------------------------------------------------------------------------

    def explain(self, definition: BoxDefinition) -> Sequence[LayerState]:
        states = self._environments.layers(definition)
        warm = self._cache.get(definition.fingerprint)
        if warm is None:
            return [*states, LayerState(False)]
        return [*states, LayerState(warm.usable, warm.environment.expires_at)]

    def warmth(self, definition: BoxDefinition | None = None) -> Sequence[WarmState]:
        if definition is None:
            return [self._cache.state(warm.definition) for warm in self._cache]
        line = [definition]
        while (lower := below(line[0])) is not None:
            line.insert(0, lower)
        return [self._cache.state(one) for one in line]

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
        known = self._cache.get(template.fingerprint)
        if known is None:
            raise DriverUnavailable(f"there is no template {template.fingerprint[:12]} any more; build it again")
        self._starting.add(box)
        try:
            async with asyncio.timeout(request.timeout_s):
                try:
                    warm = await self._cache.ready(known.definition, known.blobs)
                    return await self._start(warm, box, directory, surroundings)
                except TemplateGone:  # it died unnoticed; a second time is no accident
                    warm = await self._cache.ready(known.definition, known.blobs)
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


def _spawn_order(warm: Warm, box: str, place: Place) -> dict[str, Any]:
    return {
        "op": "spawn",
        "box": box,
        "directory": str(place.workspace),
        "env": {"PWD": str(place.workspace), **place.variables, **warm.definition.env, MARKER: box},
        "limits": rlimits(warm.definition.resources),
        "concurrency": warm.definition.resources.concurrency or 1,
        **place.details,
    }
