"""Warm templates of one driver: made when they are needed, kept while there is room, made again when they die."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakValueDictionary

from box_agent.driver import Template
from box_agent.drivers.forking.peers import close_all
from box_agent.drivers.forking.templates import TemplateGone, TemplateProcess
from box_agent.worker import processes
from schemas.box import BoxDefinition
from schemas.errors import BoxDied, BoxhubError, DriverUnavailable

if TYPE_CHECKING:
    from box_agent.driver import Blobs
    from box_agent.drivers.forking.environment import Environment, Environments

_SETUP_S: Final = 600.0


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

    @property
    def usable(self) -> bool:
        """It lives, and what it stands on is not too old."""
        return self.process.alive and not self.environment.expired


class Ground(Protocol):
    """What templates stand on: the business of a driver."""

    async def launch(self) -> TemplateProcess:
        """The first template, with the platform's imports only."""
        ...

    async def derive(
        self, base: TemplateProcess, definition: BoxDefinition, environment: Environment
    ) -> TemplateProcess:
        """A fork of it that nothing was loaded into."""
        ...

    def seen(self, environment: Environment) -> Environment:
        """The environment with the paths and variables that a template has for it."""
        ...

    async def discard(self, process: TemplateProcess) -> None:
        """End a template that never became ready, with everything below it."""
        ...


class Templates:
    """At most ``max_templates``, and of several not more than ``template_bytes`` together (0: no such limit).

    The least recently used goes first. ``driver`` is its name; ``logs`` is where the output of ``setup`` goes.
    """

    def __init__(
        self,
        ground: Ground,
        environments: Environments,
        logs: Path,
        driver: str,
        max_templates: int,
        template_bytes: int,
    ) -> None:
        self._ground = ground
        self._environments = environments
        self._logs = logs
        self._driver = driver
        self._max_templates = max_templates
        self._template_bytes = template_bytes
        self._base: TemplateProcess | None = None
        self._launching = asyncio.Lock()
        self._building: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._warm: OrderedDict[str, Warm] = OrderedDict()

    @property
    def all(self) -> list[Warm]:
        """The least recently used one first."""
        return list(self._warm.values())

    @property
    def pids(self) -> set[int]:
        """Of all templates, the first one too."""
        pids = {warm.process.process.pid for warm in self.all}
        return pids if self._base is None else {*pids, self._base.process.pid}

    def get(self, fingerprint: str) -> Warm | None:
        return self._warm.get(fingerprint)

    async def ready(self, definition: BoxDefinition, blobs: Blobs) -> Warm:
        """Warm and alive; several callers at once build it once."""
        fingerprint = definition.fingerprint
        lock = self._building.setdefault(fingerprint, asyncio.Lock())
        async with lock:
            warm = self._warm.get(fingerprint)
            if warm is None or not warm.usable:
                if warm is not None:
                    await self.drop(fingerprint)
                warm = self._warm[fingerprint] = await self._build(definition, blobs)
            self._warm.move_to_end(fingerprint)
        while self._too_many():
            await self.drop(next(iter(self._warm)))
        return warm

    async def load(
        self, definition: BoxDefinition, environment: Environment, code: Path | None, *, set_up_in_box: bool
    ) -> TemplateProcess:
        """A template that is not kept. Raises what ``setup`` raised, `BoxDied`, `Unclean`."""
        process = await self._derived(definition, environment)
        log = self._logs / f"{definition.fingerprint[:40]}.log"
        seen = self._ground.seen(environment)
        order: dict[str, Any] = {
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
                raise Unclean(answer["unclean"])
        except BaseException as error:
            await self._ground.discard(process)
            if isinstance(error, TemplateGone):
                raise BoxDied(f"the template of {definition.name!r} died while it was set up: {_tail(log)}") from error
            if isinstance(error, BoxhubError):
                error.details.update(box=definition.name, output=_tail(log))
            raise
        finally:
            close_all(tuple(fds))
        return process

    async def first(self) -> TemplateProcess:
        """The first template, launched when there is none."""
        async with self._launching:
            if self._base is None or not self._base.alive:
                if self._base is not None:
                    await self._base.aclose()
                self._base = None
                self._base = await self._ground.launch()
            return self._base

    async def drop(self, fingerprint: str) -> bool:
        """Its boxes go on. ``False`` when there is none."""
        warm = self._warm.pop(fingerprint, None)
        if warm is None:
            return False
        await warm.process.aclose()
        return True

    async def end(self) -> None:
        """All but the first one."""
        for warm in self.all:
            await warm.process.aclose()
        self._warm.clear()

    async def end_first(self) -> None:
        if self._base is not None:
            await self._base.aclose()

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
        notes: Sequence[str] = ()
        try:
            process = await self.load(definition, environment, code, set_up_in_box=False)
        except Unclean as unclean:
            notes = (f"{unclean}; so it runs again in every box",)
            process = await self.load(definition, environment, code, set_up_in_box=True)
        took = time.monotonic() - began
        template = Template(definition.fingerprint, self._driver, round(took, 4), tuple(notes))
        memory = await asyncio.to_thread(processes.proportional_bytes, process.process.pid)
        return Warm(template, definition, blobs, environment, process, memory)

    async def _derived(self, definition: BoxDefinition, environment: Environment) -> TemplateProcess:
        try:
            return await self._ground.derive(await self.first(), definition, environment)
        except TemplateGone:  # it died unnoticed; a second time is no accident
            try:
                return await self._ground.derive(await self.first(), definition, environment)
            except TemplateGone as error:
                raise BoxDied(f"the template of {definition.name!r} ends before it is loaded: {error}") from error


class Unclean(Exception):
    """``setup`` made something that a fork does not carry over."""


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-4000:].strip()
    except OSError:
        return ""
