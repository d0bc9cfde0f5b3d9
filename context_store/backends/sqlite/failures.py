"""SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from schemas.errors import AlreadyExists, BoxhubError, IntegrityError, StoreUnavailable


def translate(error: sqlite3.Error, path: Path) -> BoxhubError:
    """The error to raise ``from error``. Damage is not retryable; locks, full disks and I/O errors are."""
    if isinstance(error, sqlite3.IntegrityError):
        return AlreadyExists(f"{path.name}: {error}")
    if error.__class__ is sqlite3.DatabaseError or "malformed" in str(error):
        return IntegrityError(f"{path} is damaged, or is no SQLite database: {error}")
    return StoreUnavailable(f"{path}: {error}", path=str(path))


def unique_field(error: sqlite3.IntegrityError) -> str:
    """The field in ``UNIQUE constraint failed: c_x.tenant, c_x.f_name``; empty for the key."""
    column = str(error).rsplit(".f_", 1)
    return column[1] if len(column) == 2 else ""
