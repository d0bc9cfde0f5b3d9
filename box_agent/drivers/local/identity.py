"""As whom boxes run: as an ordinary user of this machine, whoever the node is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MAP: Final = Path("/proc/self/uid_map")
_WANTED: Final = 1_811_000_000
"""Nobody's on any machine: ranges for containers and users end below, the kernel's overflow user is far away."""


def box_identity() -> int:
    """User and group id for the boxes of a node that is root; 0 for a node that is not, whose own they have.

    In a container that has few ids, the highest one but two, where nobody is either.
    """
    if os.geteuid() != 0 or not _MAP.exists():
        return 0
    mapped = [range(int(first), int(first) + int(count)) for first, count in _ranges()]
    if any(_WANTED in ids for ids in mapped):
        return _WANTED
    highest = max((ids[-1] for ids in mapped), default=0)
    return max(0, highest - 2)


def _ranges() -> list[tuple[str, str]]:
    lines = _MAP.read_text().splitlines()
    return [(first, count) for first, _, count in (line.split() for line in lines)]


def hand_over(directory: Path, identity: int) -> None:
    """The directory and all in it belong to the box from now on. Links are not followed. Blocking."""
    os.chown(directory, identity, identity)
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            os.chown(f"{folder}/{name}", identity, identity, follow_symlinks=False)
