"""What code is, as text that is equal wherever the code is equal.

A pickle's bytes depend on order and process, so a fingerprint never looks at them. Instead: the source of a class or
function, and of every function and class of the user's own modules it refers to, transitively; bytecode where there
is no source (a REPL); the version of nothing installed, because that is the environment's business.
"""

from __future__ import annotations

import hashlib
import inspect
import site
import sys
import sysconfig
import textwrap
import types
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None), tuple, frozenset)


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
    path = Path(file).resolve()
    return not any(path.is_relative_to(root) for root in _installed_roots())


_OURS: Final = frozenset({"box_agent", "schemas", "hub", "context_store"})


@lru_cache(maxsize=1)
def _installed_roots() -> tuple[Path, ...]:
    paths = {sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= set(site.getsitepackages()) | {site.getusersitepackages()}
    return tuple(Path(p).resolve() for p in paths)


def code_identity(*things: Any) -> str:
    """SHA-256 over everything ``things`` (classes, functions) consist of. Equal in every process and hash seed."""
    walk = _Walk()
    for thing in things:
        walk.visit(thing)
    digest = hashlib.sha256()
    for label, text in sorted(walk.found.items()):
        digest.update(f"{label}\0{len(text)}\0{text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class _Walk:
    """Collects label → text of everything reachable; each thing once."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def visit(self, thing: Any) -> None:
        thing = inspect.unwrap(thing) if callable(thing) and not isinstance(thing, type) else thing
        if isinstance(thing, (staticmethod, classmethod)):
            thing = thing.__func__
        if isinstance(thing, types.MethodType):
            thing = thing.__func__
        if isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, types.FunctionType):
            self._function(thing)

    def _class(self, cls: type) -> None:
        if not travels_by_value(cls.__module__):
            self.found.setdefault(f"installed {cls.__module__}.{cls.__qualname__}", "")
            return
        label = f"class {cls.__qualname__}"
        if label in self.found:
            return
        self.found[label] = _source(cls) or ""
        for base in cls.__bases__:
            if base is not object:
                self._class(base)
        for name, value in sorted(vars(cls).items()):
            if isinstance(value, _PLAIN) and not name.startswith("__"):
                self.found[f"{label}.{name}"] = _plain(value)
            elif isinstance(value, property):
                for part in (value.fget, value.fset):
                    if part is not None:
                        self.visit(part)
            else:
                self.visit(value)

    def _function(self, fn: types.FunctionType) -> None:
        if not travels_by_value(fn.__module__ or ""):
            self.found.setdefault(f"installed {fn.__module__}.{fn.__qualname__}", "")
            return
        label = f"function {fn.__qualname__}"
        text = _source(fn.__code__) or _bytecode(fn.__code__)
        if label in self.found and text in self.found[label]:
            return
        self.found[label] = self.found.get(label, "") + text
        self.found[f"{label} defaults"] = _plain(
            (fn.__defaults__ or (), tuple(sorted((fn.__kwdefaults__ or {}).items())))
        )
        for cell_name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                self._value(f"{label} closes over {cell_name}", cell.cell_contents)
            except ValueError:  # an empty cell: the name is not bound yet
                continue
        for name in sorted(_names(fn.__code__)):
            if name in fn.__globals__:
                self._value(f"{label} uses {name}", fn.__globals__[name])

    def _value(self, label: str, value: Any) -> None:
        if isinstance(value, _PLAIN):
            self.found[label] = _plain(value)
        else:
            self.visit(value)


@lru_cache(maxsize=512)
def _source(thing: type | types.CodeType) -> str | None:
    """The text that defines it. Finding it means parsing the file, 10 ms for a long one: so only once."""
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError, IndentationError):
        return None


def _names(code: types.CodeType) -> set[str]:
    """Global names a function and the functions inside it may read."""
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _names(const)
    return found


def _bytecode(code: types.CodeType) -> str:
    consts = [_bytecode(c) if isinstance(c, types.CodeType) else _plain(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, consts))


def _plain(value: Any) -> str:
    """``repr`` that does not depend on the hash seed."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_plain, value))})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    if isinstance(value, _PLAIN):
        return repr(value)
    return f"<{type(value).__qualname__}>"
