"""Imports as a new interpreter in a directory would do them, in a process that is not new.

A warm process has imported things already, perhaps the same project from the directory of another branch, and
Python trusts a cached `.pyc` whose source has the same size and the same second of modification: two edits of one
file within a second look alike to it. Here neither is believed.
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, PathEntryFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

TOOL_ROOT = Path(__file__).resolve().parents[2]
"""Where this package is imported from when it is not installed; not a place the project's imports may look in."""

STANDARD_LIBRARY = tuple(
    {
        place
        for key in ("stdlib", "platstdlib")
        for place in (sysconfig.get_path(key), os.path.realpath(sysconfig.get_path(key)))
    }
)

SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


class UncachedLoader(SourceFileLoader):
    """Compiles the source at every import; never looks at bytecode."""

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError(f"{path}: bytecode is not wanted")  # what `SourceLoader` takes as "there is none"


@contextmanager
def fresh_imports(directory: Path) -> Iterator[None]:
    """Inside the block, imports behave as in `python -m pytest` freshly started in `directory`.

    The directory is the working directory and first on `sys.path` (then its `src`, if it has one); the project's
    modules, whichever directory they came from, are not imported yet; no bytecode is read from it or written.
    Everything is as before afterwards.
    Process-wide: no other thread may import meanwhile.
    """
    directory = directory.resolve()
    old_cwd, old_path, old_hooks = Path.cwd(), sys.path[:], sys.path_hooks[:]
    old_flag, old_variable = sys.dont_write_bytecode, os.environ.get("PYTHONDONTWRITEBYTECODE")
    put_aside = _forget(_is_stale(directory))
    os.chdir(directory)
    sys.path[:] = [*_places(directory), *(entry for entry in old_path if not _is_out_of_place(entry, directory))]
    sys.path_hooks.insert(0, _finder_hook(directory))
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    _forget_caches(directory)
    try:
        yield
    finally:
        _forget(lambda name, module: _lies_in(module, directory))
        sys.modules.update(put_aside)
        sys.path[:], sys.path_hooks[:] = old_path, old_hooks
        sys.dont_write_bytecode = old_flag
        if old_variable is None:
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        else:
            os.environ["PYTHONDONTWRITEBYTECODE"] = old_variable
        _forget_caches(directory)
        os.chdir(old_cwd)


def _places(directory: Path) -> list[str]:
    """Where the project's modules are: the directory, and `src` of a project that keeps them there.

    pytest alone does not look into `src`; but then a project that is installed in editable mode would be tested as
    it is in the directory it was installed from, and an edit here would change nothing.
    """
    source = directory / "src"
    return (
        [str(directory), str(source)] if source.is_dir() and not (source / "__init__.py").exists() else [str(directory)]
    )


def _is_stale(directory: Path) -> Callable[[str, ModuleType], bool]:
    """Which modules the project would import anew.

    Those from its directory; those of its names that came from anywhere but the installation; and standard modules
    that a file at the top of the directory hides, as it would for an interpreter started there.
    """
    at_top = {entry.stem if entry.suffix == ".py" else entry.name for entry in directory.iterdir()}
    anywhere = set(_names_below(directory))

    def stale(name: str, module: ModuleType) -> bool:
        if name == "__main__":
            return False
        if _lies_in(module, directory):
            return True
        top = name.partition(".")[0]
        if top not in anywhere:
            return False
        origin = _origin(sys.modules.get(top, module))
        if origin is None:
            return False  # built in or frozen
        if _is_installed(origin):
            return top in at_top and top in sys.stdlib_module_names
        return True

    return stale


def _is_installed(origin: str) -> bool:
    parts = Path(origin).parts
    return "site-packages" in parts or "dist-packages" in parts or origin.startswith(STANDARD_LIBRARY)


def _names_below(directory: Path) -> Iterator[str]:
    for _, directories, files in os.walk(directory):
        directories[:] = [d for d in directories if not d.startswith(".") and d not in SKIPPED_DIRECTORIES]
        yield from directories
        yield from (file.removesuffix(".py") for file in files if file.endswith(".py"))


def _forget(condition: Callable[[str, ModuleType], bool]) -> dict[str, ModuleType]:
    """Takes modules out of `sys.modules`; returns them."""
    found = {name: module for name, module in sys.modules.items() if module is not None and condition(name, module)}
    for name in found:
        del sys.modules[name]
    return found


def _lies_in(module: ModuleType, directory: Path) -> bool:
    origin = _origin(module)
    return origin is not None and origin.startswith(f"{directory}{os.sep}")


def _origin(module: ModuleType) -> str | None:
    """The file of a module, the first directory of a namespace package; None for what is built in or frozen."""
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.origin in ("built-in", "frozen"):
        return None
    file = getattr(module, "__file__", None)
    if file is None:
        file = next(iter(getattr(module, "__path__", ())), None)
    return file if isinstance(file, str) else None


def _is_out_of_place(entry: str, directory: Path) -> bool:
    return entry == "" or Path(entry).resolve() in (directory, TOOL_ROOT)


def _finder_hook(directory: Path) -> Callable[[str], PathEntryFinder]:
    loaders: list[tuple[type[Loader], list[str]]] = [
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (UncachedLoader, SOURCE_SUFFIXES),
    ]
    make = FileFinder.path_hook(*loaders)

    def hook(path: str) -> PathEntryFinder:
        place = Path(path).resolve()  # an empty entry is the working directory
        if place != directory and directory not in place.parents:
            raise ImportError(f"{path}: not in {directory}")
        return make(path)

    return hook


def _forget_caches(directory: Path) -> None:
    for entry in [e for e in sys.path_importer_cache if Path(e).resolve() == directory or directory in Path(e).parents]:
        del sys.path_importer_cache[entry]
    importlib.invalidate_caches()
    linecache.clearcache()
