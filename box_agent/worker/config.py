"""The environment of a box's processes: the box's own, made by the driver. Nothing here configures the platform."""

from __future__ import annotations

import os
from collections.abc import Mapping


def replace_environment(variables: Mapping[str, str], former: Mapping[str, str] | None = None) -> None:
    """From now on exactly these, for this process and what it starts.

    With what code in it has changed since they were ``former``: that goes over both.
    """
    changed = {} if former is None else {k: v for k, v in os.environ.items() if former.get(k) != v}
    gone = () if former is None else [name for name in former if name not in os.environ]
    os.environ.clear()
    os.environ.update({**variables, **changed})
    for name in gone:
        os.environ.pop(name, None)


def extend_environment(variables: Mapping[str, str]) -> None:
    os.environ.update(variables)


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """For a program about to be started."""
    return {**os.environ, **variables}
