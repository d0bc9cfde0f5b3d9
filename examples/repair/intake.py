"""Looks at the directory before anything is started: is it one, can it be read, is it of a sane size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from examples.repair import problem
from examples.repair.problem import Problem

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_FILES: Final = 5000
IGNORED: Final = frozenset(
    {
        ".git",
        "__pycache__",
        ".venv",
        "venv",
        "node_modules",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
    }
)


def check_directory(directory: Path, *, writable: bool) -> None:
    """Raises `Problem`. Stops counting at the first limit, so a huge tree is refused at once."""
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise Problem(problem.NOT_A_DIRECTORY, f"{directory} {what}; give the directory that has the tests")
    if writable and not os.access(directory, os.W_OK):
        raise Problem(problem.NOT_WRITABLE, f"{directory} is read-only; leave out --apply and take the diff")
    files = size = 0

    def unreadable(error: OSError) -> None:
        raise Problem(problem.UNREADABLE, f"cannot read {error.filename}: {error.strerror}; check its permissions")

    for folder, names, entries in os.walk(directory, onerror=unreadable):
        names[:] = [n for n in names if n not in IGNORED]
        for entry in entries:
            path = Path(folder, entry)
            files += 1
            try:
                size += path.lstat().st_size
            except OSError as error:
                unreadable(error)
            if not path.is_symlink() and not os.access(path, os.R_OK):
                raise Problem(problem.UNREADABLE, f"cannot read {path}; check its permissions")
            if files > MAX_FILES or size > MAX_BYTES:
                raise Problem(
                    problem.TOO_LARGE,
                    f"{directory} has more than {MAX_FILES} files or {MAX_BYTES // 2**20} MB; "
                    "give the part that has the failing tests, or move data out of it",
                )
    if not any(directory.rglob("*.py")):
        raise Problem(problem.NO_TESTS, f"{directory}: no Python files; give a directory with a pytest suite")
