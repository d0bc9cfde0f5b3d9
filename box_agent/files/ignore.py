"""What never belongs to a workspace: version control, caches, installed packages."""

from __future__ import annotations

from typing import Final

IGNORED_NAMES: Final = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".pytest_cache", ".mypy_cache",
        ".ruff_cache", ".hypothesis", ".tox", ".nox", ".DS_Store",
    }
)  # fmt: skip
IGNORED_SUFFIXES: Final = (".pyc", ".pyo")


def ignored(name: str) -> bool:
    """Whether an entry of this name is left out, file or directory."""
    return name in IGNORED_NAMES or name.endswith(IGNORED_SUFFIXES)
