"""Limits that concern all processes of a box together: their number, their memory, and their files.

Plain processes have no kernel object that holds such a sum, so this looks. A full look costs 15 µs for each process of
the machine; it is taken when the number of threads of the whole machine has grown, which costs one small read to know,
and for boxes with a memory limit every second. What boxes have on the disk is `disk`'s to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from box_agent.drivers.forking.disk import DiskWatch, OnDisk
from box_agent.worker import processes
from schemas.box import Resources
from schemas.errors import LimitExceeded

DEFAULT_PIDS: Final = 512
OPEN_FILES: Final = 8192
"""Of each process."""
_LOOK_S: Final = 0.1
_MEMORY_S: Final = 1.0
_DISK_S: Final = 0.5
_GROWN: Final = 32
_OF_A_BOX: Final = 3
"""Threads that it begins with: the keeper's, the worker's two. A box more is no reason to look at all of them."""
_LOAD: Final = Path("/proc/loadavg")


def rlimits(resources: Resources) -> dict[str, int]:
    """What `setrlimit` can hold: per process, so a first line of defence and no more."""
    limits = {"RLIMIT_NOFILE": OPEN_FILES}
    if resources.memory_bytes is not None:
        limits["RLIMIT_DATA"] = resources.memory_bytes
    if resources.disk_bytes is not None:
        limits["RLIMIT_FSIZE"] = resources.disk_bytes
    return limits


Exceeded = Callable[[str, Resources], LimitExceeded | None]


class Limited(OnDisk, Protocol):
    """A live box as far as this is concerned."""

    @property
    def keeper(self) -> int: ...

    def exceed(self, error: LimitExceeded) -> None:
        """End it, and tell everybody why."""
        ...


class LimitWatch:
    """Ends boxes that have more processes, memory or files than they may."""

    def __init__(self, boxes: Callable[[], Mapping[str, Limited]], exceeded: Exceeded) -> None:
        """``exceeded``: what else is known of a box with a memory limit, asked as often as its memory is weighed."""
        self._boxes = boxes
        self._exceeded = exceeded
        self._threads = 0
        self._memory_at = 0.0
        self._disk = DiskWatch()
        self._disk_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            boxes = list(self._boxes().values())
            if not boxes:
                continue
            await self._look_at_disk(boxes)
            weigh = loop.time() - self._memory_at >= _MEMORY_S and any(b.resources.memory_bytes for b in boxes)
            threads = _threads() - _OF_A_BOX * len(boxes)
            self._threads = min(self._threads, threads)
            if threads - self._threads < _GROWN and not weigh:
                continue
            self._threads = threads
            if weigh:
                self._memory_at = loop.time()
            for box, error in await asyncio.to_thread(_look, boxes, weigh, self._exceeded):
                box.exceed(error)

    async def _look_at_disk(self, boxes: list[Limited]) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._disk_at < _DISK_S or not any(box.resources.disk_bytes for box in boxes):
            return
        self._disk_at = now
        by_id = {box.id: box for box in boxes}
        for id, error in await asyncio.to_thread(self._disk.look, boxes):
            by_id[id].exceed(error)


def _look(boxes: list[Limited], weigh: bool, exceeded: Exceeded) -> list[tuple[Limited, LimitExceeded]]:
    children = processes.families()
    found: list[tuple[Limited, LimitExceeded]] = []
    for box in boxes:
        pids = processes.below(box.keeper, children)
        most = box.resources.pids or DEFAULT_PIDS
        memory = box.resources.memory_bytes
        if len(pids) > most:
            said = f"{box.id} has more than {most} processes"
            found.append((box, LimitExceeded(said, limit="pids", allowed=most, box=box.id)))
        elif weigh and memory and (known := exceeded(box.id, box.resources)) is not None:
            found.append((box, known))
        elif weigh and memory and (used := sum(map(processes.proportional_bytes, pids))) > memory:
            said = f"{box.id} uses {used} bytes of memory, {memory} are allowed"
            found.append((box, LimitExceeded(said, limit="memory_bytes", allowed=memory, box=box.id)))
    return found


def _threads() -> int:
    """Of the whole machine: what stands behind the slash."""
    return int(_LOAD.read_text().split()[3].partition("/")[2])
