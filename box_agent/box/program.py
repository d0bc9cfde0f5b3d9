"""The code of a Box on its way into a worker: packed here, started there.

Functions and classes of the user's own modules travel by value (cloudpickle), so a script needs no
``if __name__ == "__main__"`` guard and nothing has to be installed on the node. Module objects and imports inside
functions travel by name: import what you use from your own modules at the top of the file.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from box_agent.box.composition import QUALIFIER, Composition, Route
from box_agent.box.context import Context
from box_agent.box.identity import travels_by_value
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


@dataclass(frozen=True)
class ProgramPart:
    """``hints``: of each skill, resolved while their module was there: a function that travels takes along only what
    its code refers to, and its annotations are text."""

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
    """All parts of one Box. `start`, in the worker, makes the instances and runs every ``setup``, lowest first."""

    parts: list[ProgramPart]
    routes: dict[str, Route]
    instances: list[Any] = field(default_factory=list)
    _bound: dict[str, Bound] = field(default_factory=dict)

    @classmethod
    def of(cls, composition: Composition) -> Program:
        return cls([ProgramPart.of(p) for p in composition.parts], composition.routes())

    def pack(self) -> bytes:
        """Raises `InvalidInput` that names what cannot travel (an open file, a lock, a socket …)."""
        with _user_modules_by_value():
            try:
                return _pickled(self)
            except Exception as error:
                names = ", ".join(repr(p.name) for p in self.parts)
                raise InvalidInput(
                    f"the code of {names} cannot travel to a worker: {error}; make such things in setup()"
                ) from error

    @staticmethod
    def unpack(data: bytes) -> Program:
        """The program in ``data``. Runs code of whoever packed it, so only ever inside a worker."""
        import pickle

        program = pickle.loads(data)  # noqa: S301 - see above
        if not isinstance(program, Program):
            raise InvalidInput(f"this is not a packed Box but a {type(program).__qualname__}")
        return program

    def start(self, surroundings: Surroundings) -> None:
        """Makes one instance per part and runs its ``setup()``; what that raises goes to the caller."""
        for part in self.parts:
            instance = object.__new__(part.cls) if part.cls is not None else _Bare()
            instance.__dict__[LIVE] = Running(self, part, surroundings)
            self.instances.append(instance)
        for part, instance in zip(self.parts, self.instances, strict=True):
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


def _pickled(value: Any) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if obj is dataclasses.MISSING:  # a copy of it would be a default of every field
                return "MISSING"
            return super().reducer_override(obj)

    with io.BytesIO() as file:
        Pickler(file).dump(value)
        return file.getvalue()


@contextmanager
def _user_modules_by_value() -> Iterator[None]:
    import cloudpickle

    tops = {m.partition(".")[0] for m in list(sys.modules) if m != "__main__" and _has_user_code(m)}
    registered = []
    for top in tops:
        module = sys.modules.get(top)
        if module is not None and top not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            registered.append(module)
    try:
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _has_user_code(module_name: str) -> bool:
    """Modules that are not installed anywhere. Cheap test first: most of ``sys.modules`` is the standard library."""
    top = module_name.partition(".")[0]
    return top not in sys.stdlib_module_names and travels_by_value(module_name)
