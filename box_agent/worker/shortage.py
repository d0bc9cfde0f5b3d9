"""Which limit of the box an exception stands for: the kernel says no, and Python says it in its own words."""

from __future__ import annotations

import errno
import os
import resource
from typing import Final

_BY_NUMBER: Final = {
    errno.EMFILE: "open_files",
    errno.EFBIG: "disk_bytes",
    errno.ENOSPC: "disk_bytes",
    errno.EDQUOT: "disk_bytes",
    errno.ENOMEM: "memory_bytes",
}
_NEARLY: Final = 16
"""So many below the limit count as at it: some of those that were there may have ended since."""


def limit_met(error: BaseException) -> str:
    """Name of the limit; empty when the error is of another kind."""
    if isinstance(error, MemoryError):
        return "memory_bytes"
    number = error.errno if isinstance(error, OSError) else None
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    no_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
    if (no_thread or number == errno.EAGAIN) and _no_more_processes():
        return "pids"
    return "memory_bytes" if no_thread else ""  # for its stack


def _no_more_processes() -> bool:
    """``EAGAIN`` says many things; this is asked after one only."""
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return most != resource.RLIM_INFINITY and _tasks() >= most - _NEARLY


def _tasks() -> int:
    """Threads of all processes that this one sees: in a pid namespace of its own those of the box."""
    found = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - names, not paths, are wanted
        if name.isdigit():
            try:
                found += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208
            except OSError:
                continue  # it has just ended
    return found
