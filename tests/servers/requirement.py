"""One rule for everything a test needs from outside: missing is a skip on a laptop and a failure in CI."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import which
from typing import NoReturn

import pytest

PROJECT = Path(__file__).parents[2]
CACHE_BIN = PROJECT / ".cache" / "bin"


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def missing(what: str, cure: str) -> NoReturn:
    """End the test: failed where ``CI=true``, skipped elsewhere."""
    message = f"{what} is missing: {cure}"
    if in_ci():
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def find_program(*names: str) -> Path | None:
    """The first of ``names`` on PATH, among the system's daemons, or built into the project's cache."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", str(CACHE_BIN)))
    for name in names:
        if found := which(name, path=places):
            return Path(found)
    return None
