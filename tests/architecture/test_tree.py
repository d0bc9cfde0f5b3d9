"""The tree shows the architecture: maps of packages, sizes, names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, name_of, parsed, python_files

MAX_LINES = 450
MAX_TEST_LINES = 1000  # tables of cases are long and still read from top to bottom
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "core", "base", "misc"}
TREES = (*PACKAGES, "examples", "benchmarks", "scripts", "tests")


def package_maps() -> list[Path]:
    return [path for path in python_files(*PACKAGES) if path.name == "__init__.py"]


@pytest.mark.parametrize("init", package_maps(), ids=name_of)
def test_a_package_docstring_names_its_modules(init: Path) -> None:
    docstring = ast.get_docstring(parsed(init)) or ""
    tracked = python_files(*PACKAGES)
    modules = {path.stem for path in tracked if path.parent == init.parent}
    subpackages = {path.parent.name for path in tracked if path.parent.parent == init.parent}
    expected = (modules | subpackages) - {"__init__", "__main__", init.parent.name}
    missing = sorted(name for name in expected if not re.search(rf"\b{re.escape(name)}\b", docstring))
    assert not missing, f"the docstring of {name_of(init)} is the map of its files; it lacks {', '.join(missing)}"


def test_every_directory_of_modules_is_a_package() -> None:
    directories = {path.parent for path in python_files(*PACKAGES)}
    lacking = sorted(name_of(directory) for directory in directories if not (directory / "__init__.py").exists())
    assert not lacking, f"without __init__.py, so without a map and outside the import contracts: {lacking}"


def test_files_stay_small() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in python_files(*TREES)}
    limits = {name: MAX_TEST_LINES if name.startswith("tests/") else MAX_LINES for name in sizes}
    large = {name: lines for name, lines in sizes.items() if lines > limits[name]}
    assert not large, f"more than {MAX_LINES} lines: what is the second responsibility? {large}"


def test_no_vague_module_names() -> None:
    vague = [name_of(path) for path in python_files(*TREES) if VAGUE_NAMES & {path.stem, path.parent.name}]
    assert not vague, f"a name must say what is inside: {vague}"
