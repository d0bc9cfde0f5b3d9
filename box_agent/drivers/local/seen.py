"""An environment with the paths and variables that a Box behind a wall has for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.local import rootfs
from box_agent.drivers.local.sources import only_for_pip


def as_seen(environment: Environment) -> Environment:
    packages = {str(path): f"{rootfs.PACKAGES}/{path.name}" for path in environment.packages}
    variables = for_boxes(environment.variables)
    for name, value in variables.items():
        for source, target in packages.items():
            value = value.replace(source, target)
        variables[name] = value
    programs = str(Path(sys.executable).parent)
    if programs not in variables.get("PATH", "").split(":"):
        variables["PATH"] = f"{variables.get('PATH', '')}:{programs}".lstrip(":")
    return replace(
        environment,
        directory=Path(rootfs.ENVIRONMENT),
        packages=tuple(map(Path, packages.values())),
        variables=variables,
    )


def for_boxes(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of the node's that a box may see; it has no network to fetch packages through anyway."""
    return {name: value for name, value in variables.items() if not only_for_pip(name)}
