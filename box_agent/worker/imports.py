"""Where a template imports a Box's modules from, and whether a layer on top would have changed what was imported."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType


class Imports:
    """Made before any code of a Box is there. The paths of a Box come before the installed packages and behind the
    standard library: its own files cannot shadow ``json``."""

    def __init__(self) -> None:
        self._platform = frozenset(sys.modules)
        self._paths: list[str] = []
        self._own: dict[str, tuple[str, bytes]] = {}

    def move(self, paths: Sequence[str]) -> str:
        """Import from ``paths``, the box's directory first, instead of those before, which are most likely among them.

        Returns why that gives another result than if they had been there from the beginning: a module that was
        imported already is another one in ``paths``. Empty when it is the same.
        """
        why = self._other(paths)
        for path in self._paths:
            sys.path.remove(path)
        at = next((i for i, p in enumerate(sys.path) if p.endswith(("site-packages", "dist-packages"))), len(sys.path))
        sys.path[at:at] = paths
        for path in paths:
            sys.path_importer_cache.pop(path, None)
        importlib.invalidate_caches()
        self._paths = list(paths)
        return why

    def remember(self) -> None:
        """What was imported from the box's directory so far: another layer may have another file there."""
        for name, file in self._files():
            here = _below(file, self._paths[:1])
            if here and name not in self._own:
                self._own[name] = (here, _digest(file))

    def _other(self, paths: Sequence[str]) -> str:
        directory = paths[0]
        for name, (here, digest) in self._own.items():
            if _digest(Path(directory, here)) != digest:
                return f"{here} is not the file that {name!r} was imported from"
        since = {name.partition(".")[0] for name in sys.modules.keys() - self._platform} - sys.stdlib_module_names
        own = {name.partition(".")[0] for name in self._own}
        for path in paths:
            if path in self._paths[1:]:
                continue
            for name in sorted(_importable(path) & since - (own if path == directory else set())):
                return f"{name!r} was imported already, from elsewhere"
        return ""

    def _files(self) -> Iterator[tuple[str, Path]]:
        for name in sys.modules.keys() - self._platform:
            module: ModuleType | None = sys.modules.get(name)
            file = getattr(module, "__file__", None)
            if isinstance(file, str):
                yield name, Path(file)


def _below(file: Path, paths: Iterable[str]) -> str:
    return next((str(file.relative_to(path)) for path in paths if file.is_relative_to(path)), "")


def _importable(path: str) -> set[str]:
    """Top-level names."""
    try:
        return {entry.name.partition(".")[0] for entry in Path(path).iterdir() if _is_module(entry)}
    except OSError:
        return set()


def _is_module(entry: Path) -> bool:
    return entry.suffix in (".py", ".so", "") and not entry.name.startswith(("_", "."))


def _digest(file: Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""
