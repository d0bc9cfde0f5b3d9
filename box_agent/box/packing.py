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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from box_agent.box.composition import Composition
from box_agent.box.identity import IMMUTABLE, travels_by_value
from box_agent.box.program import Program, ProgramPart
from schemas.box import MAX_PREFIXES, Prefix
from schemas.errors import CompositionConflict, InvalidInput
from schemas.model import Value
from schemas.tree import blob_hash

_NEVER_CHANGE: Final = (
    str, bytes, int, float, complex, bool, types.NoneType, types.EllipsisType, tuple, frozenset, types.CodeType,
    types.ModuleType, types.BuiltinFunctionType, types.GenericAlias, types.UnionType, typing.TypeVar, Value, *IMMUTABLE,
)  # fmt: skip
_WRITES: Final = ("STORE_GLOBAL", "DELETE_GLOBAL")
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
    parts = [ProgramPart.of(part) for part in composition.parts]
    with _user_modules_by_value():
        try:
            return _pack(composition, parts, platform)
        except Exception as error:
            names = ", ".join(repr(part.name) for part in parts)
            raise InvalidInput(
                f"the code of {names} cannot travel to a worker: {error}; make such things in setup()"
            ) from error


def _pack(composition: Composition, parts: list[ProgramPart], platform: str) -> Packed:
    cuts, together = _cuts(composition)
    held = [_memo(part) for part in parts] if cuts else []
    blobs: dict[str, bytes] = {}
    prefixes: list[Prefix] = []
    below = 0
    for cut in cuts:
        why = _shared(parts, held, cut)
        if why:
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


def _shared(parts: list[ProgramPart], held: list[Memo], cut: int) -> str:
    """What parts below and above the cut have in common that two pickles would make two of; empty: nothing."""
    for i, low in enumerate(held[:cut]):
        for j, high in enumerate(held[cut:], cut):
            what = _common(low, high)
            if what:
                names = f"{parts[i].name!r} and {parts[j].name!r}"
                return f"{names} both use {what} of the same module, so they are set up together"
    return ""


def _common(low: Memo, high: Memo) -> str:
    both = {key: low[key] for key in low.keys() & high.keys()}
    harmless = _parts_of(both.values())
    for key, thing in both.items():
        if key in harmless:
            continue
        if isinstance(thing, type):
            if travels_by_value(thing.__module__):
                return f"the class {thing.__name__!r}"
        elif not _never_changes(thing):
            return f"a {type(thing).__name__} ({_short(thing)})"
    written = _globals(low, written=True) & _globals(high) or _globals(low) & _globals(high, written=True)
    return f"the global variable {min(written)[1]!r}" if written else ""


def _never_changes(thing: Any) -> bool:
    if isinstance(thing, types.FunctionType):
        return not travels_by_value(thing.__module__ or "") or set(thing.__dict__) <= {"__boxhub_skill__"}
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


def _globals(memo: Memo, *, written: bool = False) -> set[tuple[int, str]]:
    """Global variables that functions among these name, as (id of their module's dictionary, name)."""
    found: set[tuple[int, str]] = set()
    for fn in memo.values():
        if isinstance(fn, types.FunctionType) and travels_by_value(fn.__module__ or ""):
            found.update((id(fn.__globals__), name) for name in _named(fn.__code__, written))
    return found


def _named(code: types.CodeType, written: bool) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _WRITES or (not written and instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")):
            yield str(instruction.argval)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _named(const, written)


def _short(thing: Any) -> str:
    try:
        text = repr(thing)
    except Exception as error:  # noqa: BLE001 - somebody else's code, asked for nothing but words
        return type(error).__name__
    return text if len(text) <= 40 else f"{text[:37]}…"


# --- pickles --------------------------------------------------------------------------------------------------------


def _memo(value: Any) -> Memo:
    return _pickled(value)[1]


def _pickled(value: Any) -> tuple[bytes, Memo]:
    """Also every object in it that a second mention would refer to, by id."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if obj is dataclasses.MISSING:  # a copy of it would be a default of every field
                return "MISSING"
            return super().reducer_override(obj)

    with io.BytesIO() as file:
        pickler = Pickler(file)
        pickler.dump(value)
        return file.getvalue(), {key: thing for key, (_, thing) in pickler.memo.copy().items()}


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
