"""The environment is read in ``config.py`` files and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.tree import PACKAGES, name_of, parsed, python_files

READS = {"environ", "environb", "getenv", "getenvb"}


def environment_reads(module: ast.Module) -> Iterator[int]:
    """Lines that use ``os.environ`` or ``os.getenv``, under whatever name ``os`` or they were imported."""
    aliases = {
        alias.asname or alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "os"
    }
    for node in ast.walk(module):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in aliases and attribute in READS:
                yield node.lineno
            case ast.ImportFrom(module="os", names=names) if any(alias.name in READS for alias in names):
                yield node.lineno


def test_only_config_reads_the_environment() -> None:
    reads = [
        f"{name_of(path)}:{line}"
        for path in python_files(*PACKAGES)
        if path.name != "config.py"
        for line in environment_reads(parsed(path))
    ]
    assert not reads, f"take the value from the settings object instead: {reads}"


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A']",
        "import os as system\nsystem.getenv('A')",
        "from os import environ\n",
        "from os import getenv as g\n",
    ],
)
def test_a_read_is_seen(source: str) -> None:
    assert list(environment_reads(ast.parse(source)))


def test_other_uses_of_os_are_not_reads() -> None:
    assert not list(environment_reads(ast.parse("import os\nos.getpid()\nself.environ = {}\nbox.environ")))
