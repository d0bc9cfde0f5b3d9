"""The environment of a box's processes: the box's own, made by the driver. Nothing here configures the platform."""

from __future__ import annotations

import os
from collections.abc import Mapping


def replace_environment(variables: Mapping[str, str]) -> None:
    """From now on exactly these, for this process and what it starts."""
    os.environ.clear()
    os.environ.update(variables)


def extend_environment(variables: Mapping[str, str]) -> None:
    os.environ.update(variables)


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """For a program about to be started."""
    return {**os.environ, **variables}
