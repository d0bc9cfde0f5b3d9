"""What the architecture tests look at: tracked files, packages and parsed modules."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = ("schemas", "context_store", "box_agent", "hub")


@cache
def tracked_files() -> tuple[Path, ...]:
    """What git tracks, or would track after the next ``git add``: an ignored file is nobody's promise."""
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout, so nothing is tracked")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    paths = (PROJECT / name for name in listing.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def python_files(*tops: str) -> list[Path]:
    """Tracked Python files below the top-level directories ``tops``, or everywhere."""
    return [
        path
        for path in tracked_files()
        if path.suffix == ".py" and (not tops or path.relative_to(PROJECT).parts[0] in tops)
    ]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))
