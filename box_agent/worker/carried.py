"""What a fork of a template does not carry over as it is: found after code was loaded and after ``setup``."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Final

from box_agent.worker import processes

_HARMLESS: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/full")
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Before:
    """What was there; `left` compares."""

    def __init__(self) -> None:
        self._files = _open_files()
        self._shared = _shared_memory()

    def left(self, by: str) -> str:
        """Why a fork would not carry over what ``by`` made since; empty when it does."""
        threads = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        if threads:
            return f"{by} leaves threads running: {', '.join(threads)}"
        if processes.descendants(os.getpid()):
            return f"{by} leaves processes running"
        opened = [target for fd, target in _open_files().items() if self._files.get(fd) != target]
        opened = [target for target in opened if target not in _HARMLESS]
        if opened:
            return f"{by} leaves open: {', '.join(opened)}"
        if shared := _shared_memory() - self._shared:
            return f"{by} leaves memory that all forks would share: {', '.join(sorted(shared))}"
        if any(signal.getitimer(timer) != (0.0, 0.0) for timer in _TIMERS):
            return f"{by} leaves a timer running"
        if _native_threads():
            return f"{by} leaves {_native_threads()} threads of a library running"
        return ""


def _open_files() -> dict[int, str]:
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths, are wanted
        try:
            found[int(name)] = str(Path(f"/proc/self/fd/{name}").readlink())
        except OSError:
            continue  # the descriptor of this very listing
    return found


def _shared_memory() -> Counter[str]:
    """Mappings that a fork shares instead of copying, and may write to: how many of each name."""
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    return Counter(line[-1] for line in lines if line[1].endswith("s") and "w" in line[1])


def _native_threads() -> int:
    """Those that Python does not know of and that outlast a fork: libraries that care for forks end theirs before."""
    if _tasks() > 1:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    return _tasks() - 1


def _tasks() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are wanted
