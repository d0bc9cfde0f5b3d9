"""What code is, as a hash that is equal wherever the code is equal.

A pickle's bytes depend on order and process, and source text on decorators and comments, so a fingerprint looks at
neither. Instead: the bytecode of a function, its defaults, what it closes over, and every global of the user's own that
it names, transitively. Nothing in it says where a thing was defined, so a method and a plain function with the same
body are the same code. Of what is installed only the name counts: its version is the environment's business.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import inspect
import pathlib
import re
import site
import sys
import sysconfig
import types
import typing
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pydantic

from schemas.errors import InvalidInput

_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis))
IMMUTABLE: Final = (
    decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo,
    pathlib.PurePath, uuid.UUID, range, re.Pattern, slice,
)  # fmt: skip
"""Immutable, with a ``repr`` that says everything."""
_SECRET: Final = (pydantic.SecretStr, pydantic.SecretBytes)
_KIND_FLAGS: Final = (
    inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
)  # fmt: skip
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
_BOOKKEEPING: Final = re.compile(
    r"__(module|dict|weakref|doc|qualname|firstlineno|static_attributes|annotations|annotate\w*|parameters|orig_bases"
    r"|abstractmethods|pydantic\w*|signature|class_vars|private_attributes|slots|match_args|hash|dataclass_\w+)__"
    r"|_abc_impl|model_(config|fields|computed_fields)|_options|_(member|value2member|unhashable)\w*"
)
"""Names that Python, pydantic, dataclasses and enums keep in a class beside what its author wrote."""
_OURS: Final = frozenset({"box_agent", "schemas", "hub", "context_store"})


def travels_by_value(module_name: str) -> bool:
    """Whether code of this module must be shipped: it is the script itself, or it is not installed anywhere."""
    if module_name == "__main__":
        return True
    top = module_name.partition(".")[0]
    if top in _OURS or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return module is not None and not hasattr(module, "__path__")  # made in memory, as in a notebook
    return not _is_installed(file)


@lru_cache(maxsize=8192)
def _is_installed(file: str) -> bool:
    """Asked of every class and function that is met."""
    path = Path(file).resolve()
    return any(path.is_relative_to(root) for root in _installed_roots())


@lru_cache(maxsize=1)
def _installed_roots() -> tuple[Path, ...]:
    paths = {sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= set(site.getsitepackages()) | {site.getusersitepackages()}
    return tuple(Path(p).resolve() for p in paths)


def code_identity(thing: Any) -> str:
    """SHA-256 over everything a function or value consists of. Equal in every process and under every hash seed.

    Raises `InvalidInput` when the code holds a secret (pydantic's ``SecretStr``): those are granted by name.
    """
    walk = _Walk()
    walk.value(thing, root=True)
    return walk.digest()


def members_of(cls: type, without: frozenset[str], below: type) -> dict[str, str]:
    """Identity of every attribute of a class, inherited ones included up to ``below``; overridden ones do not count.

    A call of ``super()`` closes over its class, and so brings in what it reaches.
    """
    found: dict[str, Any] = {}
    for ancestor in reversed(cls.__mro__):
        if issubclass(below, ancestor):
            continue
        found |= {name: value for name, value in vars(ancestor).items() if not _BOOKKEEPING.fullmatch(name)}
    return {name: code_identity(value) for name, value in sorted(found.items()) if name not in without}


class _Walk:
    """Feeds a hash with everything reachable, depth first; what was there before is referred to by its number."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id is used twice

    def digest(self) -> str:
        return self._hash.hexdigest()

    def value(self, value: Any, *, root: bool = False) -> None:
        if isinstance(value, enum.Enum):
            self._say("member", value.name)
            self._class(type(value))
        elif type(value) in _PLAIN:
            self._say(type(value).__name__, repr(value))
        elif isinstance(value, _SECRET):
            raise InvalidInput(
                "a skill's code holds a secret value; name the secret in the policy and ask context.secret(name) for it"
            )
        elif isinstance(value, IMMUTABLE):
            self._say(type(value).__name__, repr(value))
        elif type(value) is tuple:  # whether equal ones are one object is the compiler's whim
            self._items("tuple", value)
        elif isinstance(value, frozenset) or not self._known(value):
            self._compound(value, root)

    def _compound(self, value: Any, root: bool) -> None:
        if typing.get_origin(value) is not None:
            self._hint(value)
        elif isinstance(value, types.FunctionType):
            self._function(value, root)
        elif isinstance(value, type):
            self._class(value, known=True)
        elif isinstance(value, (list, tuple)):
            self._items(type(value).__name__, value)
        elif isinstance(value, dict):
            self._items("dict", [part for item in value.items() for part in item])
        elif isinstance(value, (set, frozenset)):
            self._say("set", *sorted(code_identity(item) for item in value))
        elif isinstance(value, (staticmethod, classmethod, functools.cached_property)):
            self._items(type(value).__name__, [getattr(value, "__func__", None) or getattr(value, "func", None)])
        elif isinstance(value, types.MethodType):
            self._items("method", [value.__func__, value.__self__])
        elif isinstance(value, property):
            self._items("property", [value.fget, value.fset, value.fdel])
        elif isinstance(value, functools.partial):
            self._items("partial", [value.func, value.args, value.keywords])
        elif isinstance(value, types.ModuleType):
            self._say("module", value.__name__)
        elif hasattr(value, "__wrapped__"):
            self._items(f"wrapped by {type(value).__qualname__}", [value.__wrapped__])
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        kind = type(value)
        self._say("object")
        self._class(kind)
        try:
            with memoryview(value) as view:  # an array, of whatever library
                self._say(str(view.shape), view.format or "", hashlib.sha256(view.tobytes()).hexdigest())
            return
        except TypeError:
            pass
        if "_composition" in getattr(value, "__dict__", ()):
            self._say("box", value.name)  # another Box, or this very one: what it is called is what a skill can use
        elif isinstance(value, pydantic.BaseModel) or travels_by_value(kind.__module__):
            self.value(getattr(value, "__dict__", None))

    def _hint(self, hint: Any) -> None:
        """``list[Menu]`` and the like; what `Annotated` adds counts by what it says of itself."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            self._say("annotated", *map(_said, arguments[1:]))
            arguments = arguments[:1]
        self._items(f"hint {origin!r}" if not isinstance(origin, type) else "hint", [origin, *arguments])

    def _function(self, fn: types.FunctionType, root: bool) -> None:
        if not root and not travels_by_value(fn.__module__ or ""):
            self._say("installed", fn.__module__ or "", fn.__qualname__)
            return
        self._say("function", _bytecode(fn.__code__))
        self._items("defaults", [fn.__defaults__, fn.__kwdefaults__])
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            self._say("closes over", name)
            try:
                self.value(cell.cell_contents)
            except ValueError:  # an empty cell: the name is not bound yet
                self._say("nothing")
        names = _names(fn.__code__)
        for name in sorted(names & fn.__globals__.keys()):
            self._say("uses", name)
            used = fn.__globals__[name]
            self.value(used)
            if isinstance(used, types.ModuleType) and travels_by_value(used.__name__):
                for attribute in sorted(names & vars(used).keys()):
                    self._say("of it", attribute)
                    self.value(vars(used)[attribute])

    def _class(self, cls: type, *, known: bool = False) -> None:
        if not travels_by_value(cls.__module__):
            self._say("installed", cls.__module__, cls.__qualname__)
            return
        if not known and self._known(cls):
            return
        self._say("class", cls.__name__)
        self._items("bases", cls.__bases__)
        for name, hint in sorted(inspect.get_annotations(cls).items()):
            self._say("field", name, hint if isinstance(hint, str) else _said(hint))
        for special in ("__pydantic_fields__", "__dataclass_fields__"):
            self._say(_said(cls.__dict__.get(special)))
        for name, value in sorted(vars(cls).items()):
            if not _BOOKKEEPING.fullmatch(name):
                self._say("attribute", name)
                self.value(value)

    def _items(self, kind: str, items: Any) -> None:
        self._say(kind, str(len(items)))
        for item in items:
            self.value(item)

    def _known(self, value: Any) -> bool:
        number = self._seen.get(id(value))
        if number is not None:
            self._say("again", str(number))
            return True
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return False

    def _say(self, *texts: str) -> None:
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self._hash.update(b"%d:" % len(data))
            self._hash.update(data)


def _names(code: types.CodeType) -> set[str]:
    """Global names a function and the functions inside it may read."""
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _names(const)
    return found


def _bytecode(code: types.CodeType) -> str:
    """Everything that decides what it does, and nothing of where it stands."""
    consts = [_bytecode(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KIND_FLAGS)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return repr((code.co_code, counts, names, consts, code.co_exceptiontable))


def _constant(value: Any) -> str:
    """``repr`` that does not depend on the hash seed."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_constant, value))})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    return repr(value)


def _said(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))
