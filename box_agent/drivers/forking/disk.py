"""What boxes have on the node's disk, each in its directory, where no kernel object holds the sum."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from schemas.box import Resources
from schemas.errors import LimitExceeded

_LEAST_BYTES: Final = 4096
"""That any file or directory counts for, however little is in it: names take space, too."""
_PART: Final = 16
"""A directory is measured when the disk has filled by this part of the box's limit since it was measured last."""
_ANYWAY_S: Final = 10.0


class OnDisk(Protocol):
    """A live box as far as this is concerned."""

    @property
    def id(self) -> str: ...

    @property
    def directory(self) -> Path: ...

    @property
    def resources(self) -> Resources: ...


class DiskWatch:
    """Remembers how full the disk was when it last measured a box."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, boxes: Iterable[OnDisk]) -> list[tuple[str, LimitExceeded]]:
        """Boxes with more than their ``disk_bytes``, and the error to tell. Blocking: walks their files."""
        found: list[tuple[str, LimitExceeded]] = []
        limited = [(box, box.resources.disk_bytes) for box in boxes if box.resources.disk_bytes is not None]
        self._seen = {box.id: self._seen[box.id] for box, _ in limited if box.id in self._seen}
        for box, allowed in limited:
            try:
                free = _free_bytes(box.directory)
            except OSError:
                continue  # it has just ended
            was, at = self._seen.get(box.id, (0, 0.0))
            now = time.monotonic()
            if was - free < allowed // _PART and now - at < _ANYWAY_S:
                continue
            self._seen[box.id] = free, now
            if used_bytes(box.directory, allowed) > allowed:
                said = f"{box.id} has more than {allowed} bytes in its directory"
                found.append((box.id, LimitExceeded(said, limit="disk_bytes", allowed=allowed, box=box.id)))
        return found


def used_bytes(directory: Path, enough: int) -> int:
    """What the files below take on the disk; counting stops above ``enough``. Links are not followed."""
    used = 0
    todo = [str(directory)]
    while todo and used <= enough:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    used += max(_LEAST_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    if used > enough:
                        break
        except OSError:
            continue  # removed meanwhile
    return used


def _free_bytes(directory: Path) -> int:
    """Names that are left count like what they would take."""
    status = os.statvfs(directory)
    return status.f_bfree * status.f_frsize + status.f_ffree * _LEAST_BYTES
