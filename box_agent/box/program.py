"""The code of a Box in a worker: unpacked, started and found by name here; `packing` sends it on its way.

Functions and classes of the user's own modules travel by value (cloudpickle), so a script needs no
``if __name__ == "__main__"`` guard and nothing has to be installed on the node. Module objects and imports inside
functions travel by name: import what you use from your own modules at the top of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from box_agent.box.composition import QUALIFIER, Route
from box_agent.box.context import Context
from box_agent.box.part import Part
from box_agent.box.signature import hints_of, wants_instance
from box_agent.box.skill import Bound, bind
from schemas.errors import InvalidInput, SkillNotFound

LIVE = "_live"
"""Attribute of a part's instance that marks it as running, and leads to its surroundings."""

running: ContextVar[Context | None] = ContextVar("boxhub_running_context", default=None)
"""The context of the call that runs now, for sibling calls."""


class Surroundings(Protocol):
    """What the worker gives the instances of a Box's parts."""

    @property
    def directory(self) -> Path:
        """The box's own directory; its current one."""
        ...

    def run(self, command: str, *, timeout_s: float | None = None) -> Any:
        """A shell command in it; see `box_agent.box.box.Box.run`."""
        ...


@dataclass
class ProgramPart:
    """``hints``: of each skill, resolved while their module was there: a function that travels takes along only what
    its code refers to, and its annotations are text. Nothing of it changes but its name.
    """

    name: str
    cls: type[Any] | None
    skills: dict[str, str | Callable[..., Any]]
    hints: dict[str, dict[str, Any]]
    setups: tuple[Callable[..., Any], ...]
    secrets: frozenset[str]

    @classmethod
    def of(cls, part: Part) -> ProgramPart:
        hints = {name: hints_of(part.function(name), name) for name in part.skills}
        return cls(part.name, part.cls, dict(part.skills), hints, part.setups, frozenset(part.policy.secrets))

    def function(self, skill: str) -> Callable[..., Any]:
        how = self.skills[skill]
        found: Callable[..., Any] = getattr(self.cls, how) if isinstance(how, str) else how
        return found

    def inside(self, name: str) -> str | None:
        """Public name of the skill that was written as ``name``; a class finds its own by itself."""
        return next((n for n, how in self.skills.items() if getattr(how, "__name__", None) == name), None)


@dataclass
class Program:
    """The parts of one Box. `start`, in the worker, makes the instances and runs every ``setup``, lowest first.

    It may grow: what `add` brings stands on the parts that are there, which may have been started already.
    """

    parts: list[ProgramPart]
    routes: dict[str, Route]
    instances: list[Any] = field(default_factory=list)
    _bound: dict[str, Bound] = field(default_factory=dict)

    @staticmethod
    def unpack(data: bytes) -> Program:
        """The program in ``data``. Runs code of whoever packed it, so only ever inside a worker."""
        import pickle

        program = pickle.loads(data)  # noqa: S301 - see above
        if not isinstance(program, Program):
            raise InvalidInput(f"this is not a packed Box but a {type(program).__qualname__}")
        return program

    def add(self, upper: Program) -> None:
        """Further parts, and the routes of all of them together, which may lead elsewhere than before."""
        self.parts += upper.parts
        kept = {name: route for name, route in self.routes.items() if upper.routes.get(name) == route}
        self._bound = {name: bound for name, bound in self._bound.items() if name in kept}
        self.routes = upper.routes
        for name, route in self.routes.items():
            part, qualified, _ = name.partition(QUALIFIER)
            if qualified:  # an equal Box may have been loaded under another name
                self.parts[route.part].name = part

    @property
    def started(self) -> bool:
        return len(self.instances) == len(self.parts)

    def start(self, surroundings: Surroundings) -> None:
        """One instance for each part that has none yet, and its ``setup()``; what that raises goes to the caller."""
        fresh = self.parts[len(self.instances) :]
        for part in fresh:
            instance = object.__new__(part.cls) if part.cls is not None else _Bare()
            instance.__dict__[LIVE] = Running(self, part, surroundings)
            self.instances.append(instance)
        for part, instance in zip(fresh, self.instances[-len(fresh) :] if fresh else (), strict=True):
            for setup in part.setups:
                setup(instance) if wants_instance(setup) else setup()

    def skill(self, name: str) -> tuple[Bound, Any]:
        """The bound skill and the instance it runs on. Raises `SkillNotFound` with what there is."""
        bound = self.bound(name)
        return bound, self.instances[self.routes[name].part]

    def bound(self, name: str) -> Bound:
        """The skill's checked form, made once; also before `start`. Raises as `skill` does."""
        if name not in self._bound:
            route = self.routes.get(name)
            if route is None:
                known = sorted(self.routes)
                raise SkillNotFound(f"no skill {name!r}; there are: {', '.join(known)}", skill=name, skills=known)
            part = self.parts[route.part]
            self._bound[name] = bind(part.function(route.attribute), part.hints[route.attribute])
        return self._bound[name]

    def secrets_of(self, skill: str) -> frozenset[str]:
        """What the part was granted that ``skill`` came with."""
        route = self.routes.get(skill)
        return frozenset() if route is None else self.parts[route.part].secrets

    def sibling(self, name: str) -> Callable[..., Any]:
        """A skill as a plain method, for other skills of the same Box: no copy, no check, the same process.

        It runs with the grants of the part it came with, not with its caller's.
        """
        bound, instance = self.skill(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if bound.context_parameter is not None:
                context = running.get()
                own = None if context is None else context.granted(self.secrets_of(name))
                kwargs.setdefault(bound.context_parameter, own)
            return bound.fn(instance, *args, **kwargs) if bound.wants_instance else bound.fn(*args, **kwargs)

        return call

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts, "routes": self.routes, "instances": [], "_bound": {}}


@dataclass(frozen=True, slots=True)
class Running:
    """What ``self`` leads to inside a worker."""

    program: Program
    part: ProgramPart
    surroundings: Surroundings


class _Bare:
    """The ``self`` of a value-style part's skills that want one."""

    def run(self, command: str, *, timeout_s: float | None = None) -> Any:
        """A shell command in the box's directory; see `box_agent.box.box.Box.run`."""
        live: Running = self.__dict__[LIVE]
        return live.surroundings.run(command, timeout_s=timeout_s)

    def __getattr__(self, name: str) -> Any:
        return sibling_of(self, name)


def sibling_of(instance: Any, name: str) -> Any:
    """``self.login`` where ``login`` is a skill of another part. Raises `AttributeError` for anything else."""
    live = instance.__dict__.get(LIVE)
    if live is not None and not name.startswith("__"):
        own = live.part.inside(name)
        if own is not None:
            return live.program.sibling(f"{live.part.name}{QUALIFIER}{own}")
        if name in live.program.routes:
            return live.program.sibling(name)
    hint = "" if live is not None else "; skills of other parts are there once the composed Box is spawned"
    raise AttributeError(f"{type(instance).__name__!r} has no attribute {name!r}{hint}", name=name, obj=instance)
