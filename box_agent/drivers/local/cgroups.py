"""Limits of a whole box in cgroups of either version, where the node may make them; elsewhere there are none here.

Groups are made below the node's own, so that no limit of the node is escaped, and only for a box that is limited: each
costs the kernel a millisecond and memory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from box_agent.drivers.local import delegation
from box_agent.worker import processes
from schemas.box import Resources
from schemas.errors import LimitExceeded

CONTROLLERS: Final = ("cpu", "memory", "pids")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_MARGIN: Final = 64
"""Of processes above the limit: who looks at the number must see it exceeded, to say so."""
_PERIOD_US: Final = 100_000
_REMOVE_S: Final = 2.0


class Cgroups:
    """Groups of one driver; ``home`` makes their names its own."""

    def __init__(self, home: Path) -> None:
        self._prefix = f"boxhub-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}-"
        self._places = _places()

    def make(self, box: str, resources: Resources) -> list[int]:
        """Groups with the box's limits: descriptors to which a process writes ``0`` to enter. Blocking."""
        fds: list[int] = []
        try:
            for controller, settings in _settings(resources).items():
                place = self._places.get(controller)
                if place is None:
                    continue
                group = place / f"{self._prefix}{box}"
                group.mkdir(exist_ok=True)
                version = 2 if (place / "cgroup.controllers").exists() else 1
                for name, value in settings[version].items():
                    (group / name).write_text(value)
                fds.append(os.open(group / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        except BaseException:
            for fd in fds:
                os.close(fd)
            self.remove(box)
            raise
        return fds

    def limits(self, resources: Resources) -> bool:
        """Whether a box with these needs groups, and there are some to be had."""
        return any(controller in self._places for controller in _settings(resources))

    @property
    def held(self) -> list[str]:
        """Controllers that hold a box's limits here: of ``memory``, ``pids`` and ``cpu``."""
        return [controller for controller in ("memory", "pids", "cpu") if controller in self._places]

    def exceeded(self, box: str, resources: Resources) -> LimitExceeded | None:
        """Which limit the kernel ended a box for, or holds it at. Blocking."""
        place = self._places.get("memory")
        if place is None or resources.memory_bytes is None:
            return None
        for name in ("memory.events", "memory.oom_control"):
            path = place / f"{self._prefix}{box}" / name
            if path.exists() and _out_of_memory(path.read_text()):
                allowed = resources.memory_bytes
                said = f"{box} used more than {allowed} bytes of memory"
                return LimitExceeded(said, limit="memory_bytes", allowed=allowed, box=box)
        return None

    def remove(self, box: str) -> None:
        """With whatever is still in it. Blocking."""
        for place in set(self._places.values()):
            _remove(place / f"{self._prefix}{box}")

    def sweep(self) -> None:
        for place in set(self._places.values()):
            for group in place.glob(f"{self._prefix}*"):
                _remove(group)


def _settings(resources: Resources) -> dict[str, dict[int, dict[str, str]]]:
    """Controller → version → file → value. The pids controller backs up what is counted from outside."""
    found: dict[str, dict[int, dict[str, str]]] = {}
    if resources.memory_bytes is not None:
        value = str(resources.memory_bytes)
        found["memory"] = {
            1: {"memory.limit_in_bytes": value, "memory.oom_control": "1"},  # it waits until its node ends it
            2: {"memory.max": value, "memory.swap.max": "0", "memory.oom.group": "1"},
        }
    if resources.pids is not None:
        value = str(resources.pids + _MARGIN)
        found["pids"] = {1: {"pids.max": value}, 2: {"pids.max": value}}
    if resources.cpus is not None:
        quota = str(max(1000, int(resources.cpus * _PERIOD_US)))
        found["cpu"] = {
            1: {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": quota},
            2: {"cpu.max": f"{quota} {_PERIOD_US}"},
        }
    return found


def _places() -> dict[str, Path]:
    """Controller → the group of this process, where it may make groups below it."""
    found: dict[str, Path] = {}
    if not _MOUNTS.exists():
        return found  # not Linux
    own = dict(_own_groups())
    for kind, options, mount in _mounts():
        if kind == "cgroup2":
            place, enabled = delegation.enabled(mount / own.get("", "").lstrip("/"), CONTROLLERS)
            found.update(dict.fromkeys(enabled, place))
        else:
            for name in set(CONTROLLERS) & set(options):
                place = mount / own.get(name, "").lstrip("/")
                if delegation.writable(place):
                    found[name] = place
    return found


class MemoryAccount:
    """What the kernel tells of the memory of a group that somebody else made, found by a process that lives in it.

    It can be read after the end of that process, which the kernel may have chosen too, as long as the group is there.
    """

    def __init__(self, pid: int) -> None:
        groups = dict(_own_groups(pid))
        self._files = []
        for kind, options, mount in _mounts():
            if kind == "cgroup2" and "" in groups:
                self._files.append(mount / groups[""].lstrip("/") / "memory.events")
            elif kind == "cgroup" and "memory" in options and "memory" in groups:
                self._files.append(mount / groups["memory"].lstrip("/") / "memory.oom_control")

    def ended_something(self) -> bool:
        """Whether it ended a process of the group because of its memory."""
        return any(_out_of_memory(text) for text in map(_read, self._files))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the group has no such controller, or is gone
        return ""


def _own_groups(pid: int | str = "self") -> Iterator[tuple[str, str]]:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            yield name, path


def _mounts() -> Iterator[tuple[str, list[str], Path]]:
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            yield kind, options.split(","), Path(before.split()[4])


def _out_of_memory(text: str) -> bool:
    counts = dict(line.split() for line in text.splitlines())
    return counts.get("under_oom", "0") != "0" or counts.get("oom_kill", "0") != "0"


def _remove(group: Path) -> None:
    until = time.monotonic() + _REMOVE_S
    while True:
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
            for pid in (group / "cgroup.procs").read_text().split():
                processes.send(int(pid), signal.SIGKILL)
            time.sleep(0.005)  # they are on their way out
