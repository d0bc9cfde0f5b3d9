"""What of Python goes into a machine's image: our own sources and what they import, and nothing else."""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

PLACE: Final = "/box/platform"
_SOURCES: Final = Path(__file__).resolve().parents[3]
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_OURS: Final = ("box_agent", "schemas")


def interpreter() -> str:
    """The one that the node's environment was made from; what is installed in the environment is not in machines."""
    return str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))


def trees() -> dict[Path, str]:
    """Directory or module here → where it goes."""
    found = {_SOURCES / name: f"{PLACE}/{name}" for name in _OURS}
    for installed in _needed("boxhub", {}).values():
        tops = {file.parts[0] for file in installed.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in sorted(tops - set(_OURS)):
            found[Path(str(installed.locate_file(top)))] = f"{PLACE}/{top}"
    return {source: target for source, target in found.items() if source.exists()}


def _needed(name: str, known: dict[str, Distribution]) -> dict[str, Distribution]:
    """What a distribution requires, and what that does; extras are left out."""
    try:
        here = distribution(name)
    except PackageNotFoundError:
        return known  # for another platform, or another version of Python
    for line in here.requires or ():
        match = _NAME.match(line)
        if match is None or "extra ==" in line or match[0].lower() in known:
            continue
        try:
            known[match[0].lower()] = distribution(match[0])
        except PackageNotFoundError:
            continue
        _needed(match[0], known)
    return known
