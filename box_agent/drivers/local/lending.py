"""Which directories of the machine a box may be granted, and where it may have them.

A definition names them, and whoever may spawn may send any definition; so what would hand out secrets, the state of
this platform, or a way to something that runs is refused by the node, whatever the definition says.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from box_agent.drivers.local import rootfs
from schemas.box import Mount
from schemas.errors import InvalidInput, NotFound, PermissionDenied

_SYSTEM: Final = {
    "/proc": "the kernel's view of every process", "/sys": "the kernel's settings", "/dev": "devices",
    "/run": "sockets of services", "/var/run": "sockets of services", "/etc": "passwords and keys of the machine",
    "/boot": "the kernel itself", "/var/lib": "the state of services", "/var/log": "what services said",
    "/var/spool": "what services work on", "/var/backups": "copies of what is secret",
}  # fmt: skip
_KERNEL: Final = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "debugfs", "tracefs", "securityfs", "bpf", "mqueue",
     "configfs", "fusectl", "efivarfs", "pstore", "nsfs", "binfmt_misc", "rpc_pipefs")
)  # fmt: skip
"""File systems that are interfaces, wherever they are mounted."""
_MOUNTS: Final = Path("/proc/self/mountinfo")
_LOOKED_AT: Final = 20_000
"""Names in a directory among which sockets and pipes are looked for; costs about a microsecond each."""
_OWN: Final = (rootfs.WORKSPACE, "/box", "/tmp", "/dev", "/proc", "/sys", "/run", "/usr", "/etc")  # noqa: S108


class Lending:
    """``private``: directories of the platform itself. ``within``: below which directories anything may be granted."""

    def __init__(self, private: Iterable[Path] = (), within: Sequence[Path] = (Path("/"),)) -> None:
        self._private = [path.expanduser().resolve() for path in private]
        self._within = [path.expanduser().resolve() for path in within]

    def granted(self, mounts: Sequence[Mount]) -> dict[str, str]:
        """Path in the box → path of the directory itself, without links. Blocking, milliseconds.

        Raises `PermissionDenied` for what is never lent or not on this node, `NotFound`, `InvalidInput` for a place in
        the box that is taken.
        """
        found: dict[str, str] = {}
        for mount in mounts:
            target = os.path.normpath(mount.target)
            if other := next((taken for taken in (*_taken(), *found) if _overlap(Path(target), Path(taken))), None):
                raise InvalidInput(f"mount at {target}: {other} is there; choose another place", target=target)
            found[target] = str(self._source(mount.source))
        return found

    def _source(self, source: str) -> Path:
        try:
            real = Path(source).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
            raise NotFound(f"mount of {source}: {error}", source=source) from error
        if not real.is_dir():
            raise InvalidInput(f"mount of {source}: it is no directory", source=source)
        reason = self._against(real)
        if reason:
            raise PermissionDenied(f"mount of {source}: {reason}", source=source)
        return real

    def _against(self, real: Path) -> str:
        """Why it is not lent; empty when it is."""
        if not any(real.is_relative_to(path) for path in self._within):
            allowed = ", ".join(map(str, self._within)) or "nothing"
            return f"this node lends what lies in {allowed} (BOXHUB_NODE_MOUNTS)"
        for path in self._private:
            if _overlap(real, path):
                return f"it would show {path}, which holds secrets or the state of this platform"
        for name, what in _SYSTEM.items():
            if _overlap(real, Path(name).resolve()):
                return f"it would show {name}: {what}"
        for home in _homes():
            if home.is_relative_to(real):
                return f"it would show {home}, where programs keep their keys; grant a directory in it"
            if real.is_relative_to(home) and real.relative_to(home).parts[0].startswith("."):
                return f"it is a hidden directory of {home}, where programs keep their keys"
        for path, kind in _mounted():
            if kind in _KERNEL and _overlap(real, path):
                return f"it would show {path}, an interface of the kernel ({kind})"
        opened = next(_ways_out(real), "")
        return f"{opened} is a socket or a pipe: read-only does not close it" if opened else ""


def _taken() -> list[str]:
    """Where boxes have something already."""
    return [*_OWN, *(f"/{name}" for name in rootfs.SYSTEM), *rootfs.readable()]


def _overlap(one: Path, other: Path) -> bool:
    """The same, or one lies in the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def _homes() -> Iterator[Path]:
    """Of people and of root; those of services are system directories."""
    homes = {Path.home(), *(Path(user.pw_dir) for user in pwd.getpwall() if user.pw_uid == 0 or user.pw_uid >= 1000)}
    for home in homes:
        if home.is_dir() and home != Path("/"):
            yield home.resolve()


def _mounted() -> Iterator[tuple[Path, str]]:
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        yield Path(before.split()[4].replace("\\040", " ")), after.split(" ", 1)[0]


def _ways_out(directory: Path) -> Iterator[str]:
    looked = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            path = f"{folder}/{name}"
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue  # gone meanwhile
            if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
                yield path
            looked += 1
            if looked >= _LOOKED_AT:
                return
