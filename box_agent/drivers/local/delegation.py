"""Version 2 of cgroups gives limits to groups only where their parent has no processes of its own.

A service manager delegates a group to the node (systemd: ``Delegate=yes``) with the node in it. So the node moves into
a leaf below it, and the group can have others with limits beside that leaf. Where somebody else's processes are in the
group too, a shell perhaps, nothing is moved and there are no limits by cgroups.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from box_agent.worker import processes

LEAF: Final = "boxhub-node"


def enabled(place: Path, wanted: Sequence[str]) -> tuple[Path, list[str]]:
    """The group below which limits can be set by this process, which is in ``place``, and by which controllers."""
    if place.name == LEAF:  # it has moved before
        place = place.parent
    if not writable(place):
        return place, []
    here = _words(place / "cgroup.controllers")
    missing = [name for name in wanted if name in here and name not in _words(place / "cgroup.subtree_control")]
    if missing and (place / "cgroup.type").exists() and _empty(place):  # the root of all has no type, and is not ours
        (place / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in missing))
    there = _words(place / "cgroup.subtree_control")
    return place, [name for name in wanted if name in there]


def writable(place: Path) -> bool:
    return place.is_dir() and os.access(place, os.W_OK) and os.access(place / "cgroup.procs", os.W_OK)


def _empty(place: Path) -> bool:
    """No process is in the group itself; those of this program have moved into the leaf."""
    ours = {os.getpid(), *processes.descendants(os.getpid())}
    inside = {int(pid) for pid in _words(place / "cgroup.procs")}
    if inside - ours:
        return False
    leaf = place / LEAF
    try:
        leaf.mkdir(exist_ok=True)
        for pid in inside:
            (leaf / "cgroup.procs").write_text(str(pid))
    except OSError:
        return False  # lent for looking only, or its number of groups is bounded
    return not _words(place / "cgroup.procs")


def _words(path: Path) -> list[str]:
    return path.read_text().split()
