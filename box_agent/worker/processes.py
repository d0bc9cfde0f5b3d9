"""Process trees: finding and ending them. Everything here reads ``/proc``; nothing needs privileges."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

MARKER: Final = "BOXHUB_BOX"
"""Environment variable of every program started inside a box: its id."""
_PROC: Final = Path("/proc")


def parents() -> dict[int, int]:
    """Pid → parent's pid of every process there is, zombies left out. Costs about 15 µs a process."""
    found: dict[int, int] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in ("Z", "X"):
            found[pid] = int(fields[1])
    return found


def parent_of(pid: int) -> int:
    """0 when it has ended."""
    fields = _stat(pid)
    return int(fields[1]) if fields is not None else 0


def children(parent: int) -> list[int]:
    """Living processes whose parent is ``parent``."""
    return [pid for pid, above in parents().items() if above == parent]


def families() -> dict[int, list[int]]:
    """Pid → its living children."""
    found: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        found.setdefault(parent, []).append(pid)
    return found


def below(root: int, children: Mapping[int, list[int]]) -> list[int]:
    """Everything below ``root`` in `families`."""
    found: list[int] = []
    todo = [root]
    while todo:
        here = children.get(todo.pop(), [])
        found += here
        todo += here
    return found


def descendants(root: int) -> list[int]:
    """Living processes below ``root``, itself not included."""
    return below(root, families())


def kill_descendants(root: int) -> int:
    """SIGKILL everything below ``root``, which itself does not fork now; how many were killed.

    All are stopped before any is killed, so a process that keeps forking cannot outrun this.
    """
    frozen: set[int] = set()
    while True:
        fresh = [pid for pid in descendants(root) if pid not in frozen]
        if not fresh:
            break
        for pid in fresh:
            send(pid, signal.SIGSTOP)
        frozen.update(fresh)
    for pid in frozen:
        send(pid, signal.SIGKILL)
    return len(frozen)


def kill_tree(root: int) -> None:
    """SIGKILL ``root`` and everything below it."""
    send(root, signal.SIGSTOP)  # else it goes on forking while its descendants are counted
    kill_descendants(root)
    send(root, signal.SIGKILL)


def marked(values: frozenset[str] | None = None, marker: str = MARKER) -> dict[int, str]:
    """Pid → value of ``marker`` of processes started with one of ``values`` in their environment (``None``: any)."""
    found: dict[int, str] = {}
    prefix = f"{marker}=".encode()
    for pid in _pids():
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or not ours
        if prefix not in environment:
            continue
        for entry in environment.split(b"\0"):
            if entry.startswith(prefix):
                value = entry[len(prefix) :].decode(errors="replace")
                if values is None or value in values:
                    found[pid] = value
    return found


def kill_marked(values: frozenset[str], *, marker: str = MARKER, within_s: float = 5.0) -> list[int]:
    """SIGKILL processes marked with one of ``values`` until there are none; those still there after ``within_s``."""
    until = time.monotonic() + within_s
    while True:
        here = [pid for pid in marked(values, marker) if alive(pid)]
        if not here or time.monotonic() > until:
            return here
        for pid in here:
            kill_tree(pid)
        time.sleep(0.01)


def with_argument(text: str) -> list[int]:
    """Pids of processes that have ``text`` as one of their arguments; a fork has those of its parent."""
    wanted = text.encode()
    found = []
    for pid in _pids():
        try:
            arguments = (_PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        if wanted in arguments.split(b"\0"):
            found.append(pid)
    return found


def alive(pid: int) -> bool:
    """There and not a zombie."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def started(pid: int) -> int:
    """Start time in clock ticks since boot, which tells a process from a later one of the same number; 0: gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields is not None else 0


def usage(pids: list[int]) -> tuple[float, int]:
    """CPU seconds and resident bytes of these processes together."""
    ticks, pages = 0, 0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            ticks += int(fields[11]) + int(fields[12])
            pages += int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def proportional_bytes(pid: int) -> int:
    """Memory of one process, pages that it shares counted in parts; costs about 0.3 ms."""
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0  # ended meanwhile
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def send(pid: int, number: int) -> bool:
    """Send a signal; ``False`` when the process is gone."""
    if pid < 1:
        raise ValueError(f"{pid} is no process: the kernel would take it for a group of them, our own maybe")
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _pids() -> Iterator[int]:
    for name in os.listdir(_PROC):  # noqa: PTH208 - ten times as fast as iterdir, and this is scanned often
        if name.isdigit():
            yield int(name)


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/<pid>/stat`` from the state on; the name before it may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - see _pids
            text = file.read()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].decode().split()
