"""The code of a Box as what travels: one pickle for each prefix that may be warm by itself, and the rest on top.

A prefix of a composition is loaded and set up before the parts above it exist, in a process that others fork from. So
its pickle must not have a share in anything with those above: what two pickles contain would become two things. Parts
that do share something that can change, or whose identity matters, travel together and are set up together.
"""

from __future__ import annotations

import dataclasses
import dis
import io
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

from box_agent.box.composition import Composition
from box_agent.box.identity import IMMUTABLE, travels_by_value
from box_agent.box.program import Program, ProgramPart
from schemas.box import MAX_PREFIXES, Prefix
from schemas.errors import CompositionConflict, InvalidInput
from schemas.model import Value
from schemas.tree import blob_hash

_NEVER_SHARED: Final = (str, bytes, int, float, complex, tuple, types.CodeType)
_NEVER_CHANGE: Final = (
    types.NoneType, types.EllipsisType, frozenset, types.ModuleType, types.BuiltinFunctionType, types.GenericAlias,
    types.UnionType, typing.TypeVar, Value, *IMMUTABLE,
)  # fmt: skip
_STORE_GLOBAL: Final = dis.opmap["STORE_GLOBAL"]
_DELETE_GLOBAL: Final = dis.opmap["DELETE_GLOBAL"]
_OF_A_MODULE: Final = (types.FunctionType, type, types.ModuleType, typing.TypeVar)
Memo = dict[int, Any]


@dataclass(frozen=True)
class Packed:
    """``prefixes`` and ``code`` as a definition has them, ``blobs`` by hash; ``together``: why there are no more."""

    prefixes: list[Prefix]
    code: str
    blobs: dict[str, bytes]
    together: list[str]


def pack(composition: Composition, platform: str) -> Packed:
    """Costs about a millisecond for each part. Raises `InvalidInput` that names what cannot travel (an open file …)."""
    if not any(part.skills or part.setups for part in composition.parts):
        return Packed([], "", {}, [])
    parts = [ProgramPart.of(part) for part in composition.parts]
    try:
        return _pack(composition, parts, platform)
    except Exception as error:
        names = ", ".join(repr(part.name) for part in parts)
        raise InvalidInput(
            f"the code of {names} cannot travel to a worker: {error}; make such things in setup()"
        ) from error


def _pack(composition: Composition, parts: list[ProgramPart], platform: str) -> Packed:
    cuts, together = _cuts(composition)
    shared = _Shared(parts) if cuts else None
    blobs: dict[str, bytes] = {}
    prefixes: list[Prefix] = []
    below = 0
    for cut in cuts:
        assert shared is not None
        if why := shared.across(cut):
            together.append(why)
        elif len(prefixes) < MAX_PREFIXES and (code := _blob(composition.lowest(cut), parts[below:cut], blobs)):
            prefixes.append(_prefix(composition.lowest(cut), platform, code))
            below = cut
    return Packed(prefixes, _blob(composition, parts[below:], blobs), blobs, list(dict.fromkeys(together)))


def _prefix(lower: Composition, platform: str, code: str) -> Prefix:
    return Prefix(
        fingerprint=lower.fingerprint(platform),
        parts=[part.name for part in lower.parts],
        steps=len(lower.steps()),
        env=lower.env(),
        code=code,
    )


def _blob(composition: Composition, added: list[ProgramPart], blobs: dict[str, bytes]) -> str:
    """Hash of the pickle of these parts; empty when they do nothing, and can as well come with those above them."""
    if not any(part.skills or part.setups for part in added):
        return ""
    data = _pickled(Program(added, composition.routes()))[0]
    digest = blob_hash(data)
    blobs[digest] = data
    return digest


# --- where a composition may be cut -------------------------------------------------------------------------------


def _cuts(composition: Composition) -> tuple[list[int], list[str]]:
    """How many parts each prefix may have that is a Box by itself, with the reach of the whole."""
    found, why = [], []
    for cut in range(1, len(composition.parts)):
        lower = composition.lowest(cut)
        names = " + ".join(part.name for part in lower.parts)
        try:
            lower.check()
        except CompositionConflict as conflict:
            why.append(f"{names} are not set up by themselves: {conflict.details.get('what')} is in several of them")
            continue
        if lower.reach != composition.reach:
            why.append(f"{names}: not set up by itself, where it would have {lower.reach}, not {composition.reach}")
            continue
        found.append(cut)
    return found, why


class _Shared:
    """What parts have in common that two pickles would make two of."""

    def __init__(self, parts: list[ProgramPart]) -> None:
        by_value = cache(travels_by_value)
        held = [_Held.of(part, by_value) for part in parts]
        self._pairs: list[tuple[int, int, str]] = []
        for j, high in enumerate(held):
            for i, low in enumerate(held[:j]):
                if what := low.common(high):
                    names = f"{parts[i].name!r} and {parts[j].name!r}"
                    why = f"{names} both use {what} of the same module, so they are set up together"
                    self._pairs.append((i, j, why))

    def across(self, cut: int) -> str:
        """Why the parts below and above the cut belong together; empty: they do not."""
        return next((why for i, j, why in self._pairs if i < cut <= j), "")


@dataclass(frozen=True)
class _Held:
    """What a part's pickle has a share in: objects that may be others' too, and global variables, by (module, name)."""

    things: Memo
    functions: list[types.FunctionType]
    reads: frozenset[tuple[int, str]]
    writes: frozenset[tuple[int, str]]

    @classmethod
    def of(cls, part: ProgramPart, by_value: Callable[[str], bool]) -> _Held:
        """``by_value``: whether the code of a module travels."""
        memo = {key: thing for key, thing in _memo(part).items() if not isinstance(thing, _NEVER_SHARED)}
        code = (types.FunctionType, type)
        things = {k: t for k, t in memo.items() if not isinstance(t, code) or by_value(t.__module__ or "")}
        functions = [thing for thing in things.values() if isinstance(thing, types.FunctionType)]
        reads, writes = (frozenset(_globals(functions, written=written)) for written in (False, True))
        return cls(things, functions, reads, writes)

    def common(self, other: _Held) -> str:
        both = {key: self.things[key] for key in self.things.keys() & other.things.keys()}
        harmless = _parts_of(both.values())
        for key, thing in both.items():
            if key in harmless:
                continue
            if isinstance(thing, type):
                return f"the class {thing.__name__!r}"
            if not _never_changes(thing):
                return f"the {type(thing).__name__} {self._name_of(thing)}".strip()
        written = self.writes & (other.reads | other.writes) or self.reads & other.writes
        return f"the global variable {min(written)[1]!r}" if written else ""

    def _name_of(self, thing: Any) -> str:
        """Of the global variable that it is in, if it is; never what is in it, which may be a secret."""
        named = (name for fn in self.functions for name in fn.__code__.co_names if fn.__globals__.get(name) is thing)
        return repr(next(named, "")).replace("''", "")


def _never_changes(thing: Any) -> bool:
    if isinstance(thing, types.FunctionType):
        return set(thing.__dict__) <= {"__boxhub_skill__"}
    return isinstance(thing, _NEVER_CHANGE) or type(thing).__module__ in ("typing", "re", "operator", "functools")


def _parts_of(things: Iterable[Any]) -> set[int]:
    """Ids of what there is inside functions and values that never change, which a pickle has beside them."""
    found: set[int] = set()
    for thing in things:
        if isinstance(thing, types.FunctionType):
            found.update(map(id, (thing.__dict__, thing.__annotations__, thing.__kwdefaults__)))
        elif isinstance(thing, Value):
            found.update(_memo(thing))
    return found


def _globals(functions: Iterable[types.FunctionType], *, written: bool) -> Iterator[tuple[int, str]]:
    """Global variables that they name, as (id of their module's dictionary, name)."""
    for fn in functions:
        for name in _named(fn.__code__, written):
            yield id(fn.__globals__), name


def _named(code: types.CodeType, written: bool) -> Iterator[str]:
    """Names of the module that it writes to; or, which costs less, all that it may read."""
    if not written:
        yield from code.co_names
    elif _STORE_GLOBAL in code.co_code[::2] or _DELETE_GLOBAL in code.co_code[::2]:
        yield from (str(i.argval) for i in dis.get_instructions(code) if i.opcode in (_STORE_GLOBAL, _DELETE_GLOBAL))
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _named(const, written)


# --- pickles --------------------------------------------------------------------------------------------------------


def _memo(value: Any) -> Memo:
    return _pickled(value)[1]


def _pickled(value: Any) -> tuple[bytes, Memo]:
    """Also every object in it that a second mention would refer to, by id."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            modules.meet(obj)
            if obj is dataclasses.MISSING:  # a copy of it would be a default of every field
                return "MISSING"
            return super().reducer_override(obj)

    with io.BytesIO() as file, _UserModules() as modules:
        pickler = Pickler(file)
        pickler.dump(value)
        return file.getvalue(), {key: thing for key, (_, thing) in pickler.memo.copy().items()}


class _UserModules:
    """Modules that are not installed anywhere travel by value. They are found as a pickle comes upon what they define:
    there may be thousands of others, and to look at them all would cost more than the pickle."""

    def __init__(self) -> None:
        self._met: set[str] = set()
        self._registered: list[types.ModuleType] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        import cloudpickle

        for module in self._registered:
            cloudpickle.unregister_pickle_by_value(module)

    def meet(self, obj: Any) -> None:
        if not isinstance(obj, _OF_A_MODULE):
            return
        module = obj.__name__ if isinstance(obj, types.ModuleType) else getattr(obj, "__module__", None)
        if isinstance(module, str):
            self._register(module)
        else:  # cloudpickle looks for it everywhere, and so do we
            for name in list(sys.modules):
                self._register(name)

    def _register(self, name: str) -> None:
        import cloudpickle

        if name in self._met:
            return
        self._met.add(name)
        top = name.partition(".")[0]
        module = sys.modules.get(top)
        if module is None or top == "__main__" or not travels_by_value(name):
            return
        if top not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            self._registered.append(module)
