"""The directories of a node, held by one process at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from pathlib import Path
from typing import Final, Self

from schemas.errors import AlreadyExists

_HELD_S: Final = 5.0
_TRY_S: Final = 0.05


class NodeHome:
    """``async with NodeHome(directory) as home``: ``blobs``, ``boxes`` and ``templates`` below it are ours alone.

    Two nodes in one home would end each other's boxes; the second one waits five seconds for the first to go, then
    raises `AlreadyExists`. The kernel lets go of the lock when this process ends, however it ends.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.blobs = directory / "blobs"
        self.boxes = directory / "boxes"
        self.templates = directory / "templates"
        self._lock = -1

    async def __aenter__(self) -> Self:
        for path in (self.directory, self.blobs, self.boxes, self.templates):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = asyncio.get_running_loop().time() + _HELD_S
        while not self._held():
            if asyncio.get_running_loop().time() > until:
                os.close(self._lock)
                raise AlreadyExists(
                    f"another node runs in {self.directory}; stop it, or set BOXHUB_NODE_HOME to another directory"
                )
            await asyncio.sleep(_TRY_S)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        os.close(self._lock)

    async def clear_boxes(self) -> None:
        """Remove the directories of boxes that are no more; called when no box lives."""
        await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        for path in self.boxes.iterdir():
            shutil.rmtree(path)

    def _held(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
