"""What was known of each file when it was last read or written, so that an unchanged one is not read again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from schemas.tree import TreeEntry

Stamp = tuple[int, int, int, int, int]


def stamp(status: os.stat_result) -> Stamp:
    """Differs when content or mode may differ. The change time is in it because a program can set the others."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode)


@dataclass(slots=True)
class Manifest:
    """Relative path → (stamp, entry) of every file and symlink; ``tree`` is the hash of the whole."""

    tree: str
    known: dict[str, tuple[Stamp, TreeEntry]] = field(default_factory=dict)
