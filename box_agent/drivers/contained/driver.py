"""`ContainedDriver`: live boxes that each stand in a world of their own."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Self
from weakref import WeakValueDictionary

from box_agent.bus.scope import Scope
from box_agent.driver import LayerState, Template
from box_agent.drivers.contained.beginning import begin
from box_agent.drivers.contained.world import Wanted, World
from box_agent.drivers.forking.driver import MAX_TEMPLATES
from box_agent.drivers.forking.environment import Environment, Environments, lay
from box_agent.drivers.forking.handle import Around, ForkedHandle
from box_agent.drivers.forking.leftovers import BoxFolders
from box_agent.drivers.forking.limits import LimitWatch
from box_agent.drivers.forking.loading import Late, Unclean, below, load
from box_agent.drivers.forking.steps import Work
from box_agent.drivers.local.building import Building
from box_agent.drivers.local.trial import NoBlobs, Unheard
from box_agent.ending import to_the_end
from schemas.box import BoxDefinition, CacheEntry, Resources, SpawnRequest, WarmState, codes_of
from schemas.errors import AlreadyExists, BoxhubError, DeadlineExceeded, DriverUnavailable, LimitExceeded
from schemas.node import DriverInfo

if TYPE_CHECKING:
    from box_agent.driver import Blobs, Surroundings

_EACH: Final = "every box is loaded and set up by itself: this driver forks none from a warm template"


@dataclass
class Prepared:
    """A template: what it takes to load a box of its definition, which was tried once."""

    template: Template
    definition: BoxDefinition
    environment: Environment
    codes: Sequence[Path]
    late: Late = ""
    used_at: float = field(default_factory=time.time)


class ContainedDriver(ABC):
    """The port is `box_agent.driver.Driver`. ``home`` is this driver's alone; ``variables`` are what boxes inherit."""

    trial_s: float = 20.0

    moved: ClassVar[bool] = True
    """Boxes have their files at paths of their own, and not where this machine has them."""

    def __init__(
        self, home: Path, variables: Mapping[str, str], max_templates: int = MAX_TEMPLATES, *, build_bytes: int = 0
    ) -> None:
        """``build_bytes``: disk that one step of an environment may take; 0: half of what is free when it begins."""
        self._home = home = home.absolute()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._variables = dict(variables)
        self._build_bytes = build_bytes
        self._max_templates = max_templates
        self._environments = Environments(home / "environments", dict(variables), self._carry_out)
        self._folders = BoxFolders(home / "boxes")
        self._logs, self._nothing, self._worlds_at = home / "logs", home / "nothing", home / "worlds"
        for path, mode in ((self._logs, 0o700), (self._nothing, 0o755), (self._worlds_at, 0o700)):
            path.mkdir(exist_ok=True, mode=mode)
        self._scope = Scope()
        self._building: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()
        self._handles: dict[str, ForkedHandle] = {}
        self._worlds: dict[str, World] = {}
        self._standing: dict[str, Environment] = {}  # by box: it keeps what the box stands on
        self._starting: set[str] = set()
        self._watching = False

    # --- what adapters say --------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def info(self) -> DriverInfo: ...

    @abstractmethod
    async def _open(self, wanted: Wanted) -> World:
        """A world whose first process takes orders. Cancelled, or when it fails, nothing of it is left."""

    @abstractmethod
    async def _close_engine(self) -> None:
        """Let go of what makes worlds; all of them are closed."""

    @abstractmethod
    async def _sweep_worlds(self) -> None:
        """End those that an earlier holder of this home left."""

    # --- whether it works ---------------------------------------------------------------------------------------------

    async def _try(self) -> str:
        """One box without code, made and ended; what went wrong, or empty."""
        definition = BoxDefinition(name="trial", fingerprint="trial")
        directory = self._home / "trial"
        directory.mkdir(exist_ok=True)
        try:
            async with asyncio.timeout(self.trial_s):
                template = await self.build_template(definition, NoBlobs())
                request = SpawnRequest(id="trial", definition=definition, timeout_s=self.trial_s)
                box = await self.spawn(template, request, directory, Unheard())
                await box.stop(0)
        except TimeoutError:
            return f"a trial box was not ready within {self.trial_s:g} s"
        except (BoxhubError, OSError) as error:
            return f"a trial box failed: {error}"
        finally:
            await self.remove_template(definition.fingerprint)
            shutil.rmtree(directory, ignore_errors=True)
        return ""

    # --- lifetime -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for handle in list(self._handles.values()):
                    group.create_task(handle.stop())
        finally:
            self._prepared.clear()
            await self._scope.aclose()
            await self._close_engine()

    async def sweep(self) -> Sequence[str]:
        self._environments.sweep()
        await self._sweep_worlds()
        shutil.rmtree(self._worlds_at, ignore_errors=True)
        self._worlds_at.mkdir(mode=0o700)
        return await asyncio.to_thread(self._folders.sweep)

    # --- templates ----------------------------------------------------------------------------------------------------

    @property
    def templates(self) -> Sequence[Template]:
        return [prepared.template for prepared in self._prepared.values()]

    async def build_template(self, definition: BoxDefinition, blobs: Blobs) -> Template:
        fingerprint = definition.fingerprint
        async with self._building.setdefault(fingerprint, asyncio.Lock()):
            known = self._prepared.get(fingerprint)
            if known is None or known.environment.expired:
                self._prepared[fingerprint] = await self._build(definition, blobs)
            self._prepared[fingerprint].used_at = time.time()
            self._prepared.move_to_end(fingerprint)
        while len(self._prepared) > self._max_templates:
            self._prepared.popitem(last=False)
        return self._prepared[fingerprint].template

    async def _build(self, definition: BoxDefinition, blobs: Blobs) -> Prepared:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if definition.code and definition.python and definition.python != version:
            raise DriverUnavailable(
                f"box {definition.name!r} was packed for Python {definition.python}, this node runs {version}; "
                "spawn it from the same Python, or start a node with that one"
            )
        began = time.monotonic()
        environment = await self._environments.build(definition, blobs)
        codes = [await blobs.path(code) for code in codes_of(definition)]
        late: Late = ""
        notes = [_EACH]
        if codes:
            try:
                await self._try_code(definition, environment, codes)
            except Unclean as error:
                late = error.late
                notes.insert(0, str(error))
        took = round(time.monotonic() - began, 4)
        template = Template(definition.fingerprint, self.info.name, took, tuple(notes))
        return Prepared(template, definition, environment, codes, late)

    async def _try_code(self, definition: BoxDefinition, environment: Environment, codes: Sequence[Path]) -> None:
        world = await self._open(Wanted(environment, definition.policy, definition.resources))
        try:
            await load(world.template, definition, _as_its_own(world), codes, self._log(definition), "")
        finally:
            await to_the_end(world.aclose())

    def _log(self, definition: BoxDefinition) -> Path:
        return self._logs / f"{definition.fingerprint[:40]}.log"

    async def remove_template(self, fingerprint: str) -> bool:
        return self._prepared.pop(fingerprint, None) is not None

    async def _carry_out(self, work: Work) -> None:
        """In a box of its own, whose workspace is the directory. It has the machine's network if the work needs it."""
        building = Building.of(work, self._nothing, self._variables, self._build_bytes, moved=self.moved)
        code = await asyncio.to_thread(building.write_code, self._home)
        template = Template(building.box, self.info.name, 0.0)
        prepared = Prepared(template, building.definition, building.environment, [code])
        handle = await self._start(prepared, building.box, work.directory, Unheard())
        try:
            await building.carry_out(handle)
        finally:
            await to_the_end(handle.stop(0))
            self._log(building.definition).unlink(missing_ok=True)

    # --- cache --------------------------------------------------------------------------------------------------------

    def explain(self, definition: BoxDefinition) -> Sequence[LayerState]:
        known = self._prepared.get(definition.fingerprint)
        usable = known is not None and not known.environment.expired
        expires_at = known.environment.expires_at if known is not None else None
        return [*self._environments.layers(definition), LayerState(usable, expires_at)]

    def warmth(self, definition: BoxDefinition | None = None) -> Sequence[WarmState]:
        if definition is None:
            return [_cold(prepared) for prepared in self._prepared.values()]
        line = [definition]
        while (lower := below(line[0])) is not None:
            line.insert(0, lower)
        return [WarmState(fingerprint=one.fingerprint, parts=one.parts, why=_EACH) for one in line]

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
        prepared = self._prepared.get(template.fingerprint)
        if prepared is None:
            raise DriverUnavailable(f"there is no template {template.fingerprint[:12]} any more; build it again")
        self._starting.add(box)
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._start(prepared, box, directory, surroundings)
        except TimeoutError:
            raise DeadlineExceeded(
                f"box {box!r} was not ready within {request.timeout_s:g} s", timeout="spawn", seconds=request.timeout_s
            ) from None
        finally:
            self._starting.discard(box)

    async def _start(self, prepared: Prepared, box: str, directory: Path, surroundings: Surroundings) -> ForkedHandle:
        definition = prepared.definition
        self._folders.make(box)
        world: World | None = None
        try:
            laid = await lay(prepared.environment, directory)
            wanted = Wanted(prepared.environment, definition.policy, definition.resources, directory)
            world = await self._open(wanted)
            log = self._log(definition)
            await load(world.template, definition, _as_its_own(world), prepared.codes, log, prepared.late)
            sockets, keeper = await begin(world, definition, box)
        except BaseException:
            await to_the_end(self._undo(box, world))
            raise
        around = Around(surroundings, self._scope, self._settle)
        handle = ForkedHandle(
            box, directory, world.workspace, laid, keeper, sockets, definition.resources, around
        )  # fmt: skip
        self._handles[box], self._worlds[box] = handle, world
        self._standing[box] = prepared.environment
        self._watch_limits()
        try:
            self._folders.record(box, keeper.pid)
            await handle.start()
        except BaseException:
            await to_the_end(handle.stop(0.0))
            raise
        return handle

    async def _undo(self, box: str, world: World | None) -> None:
        if world is not None:
            await world.aclose()
        await asyncio.to_thread(self._folders.remove, box)

    async def _settle(self, box: str, orphaned: bool) -> BoxhubError | None:
        """With its world everything of the box ends, whatever its keeper still knew."""
        world = self._worlds.pop(box)
        why = await asyncio.to_thread(world.exceeded)
        await world.aclose()
        await asyncio.to_thread(self._folders.remove, box)
        del self._handles[box]
        self._standing.pop(box, None)
        return why

    def _exceeded(self, box: str, resources: Resources) -> LimitExceeded | None:
        world = self._worlds.get(box)
        return None if world is None else world.exceeded()

    def _watch_limits(self) -> None:
        if not self._watching:
            self._watching = True
            self._scope.spawn(LimitWatch(lambda: self._handles, self._exceeded).run(), "limits of boxes")


def _as_its_own(world: World) -> Environment:
    """What is set up in a world has the home and temporary files that the box has there."""
    return replace(world.seen, variables={**world.seen.variables, **world.variables})


def _cold(prepared: Prepared) -> WarmState:
    return WarmState(
        fingerprint=prepared.definition.fingerprint,
        parts=prepared.definition.parts,
        built_s=prepared.template.built_s,
        used_at=prepared.used_at,
        why=_EACH,
    )
