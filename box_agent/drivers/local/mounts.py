"""The mount API. What is lent from one mount namespace to another travels as the descriptor of a detached tree."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

from box_agent.drivers.local.libc import call, syscall

READ_ONLY: Final = 0x1
NO_SETUID: Final = 0x2
NO_DEVICES: Final = 0x4
NO_PROGRAMS: Final = 0x8

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_MS_REMOUNT: Final = 32
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 2
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_MOUNT_SETATTR: Final = 442
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}


class _Attributes(ctypes.Structure):
    _fields_ = [
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def make_private() -> None:
    """Nothing that is mounted here is seen elsewhere, nor the other way round."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)


def take(path: str, attributes: int) -> int:
    """A copy of what is mounted at ``path`` and below, attached nowhere: a descriptor for `attach`."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    fd = syscall(_OPEN_TREE, "open_tree", _AT_FDCWD, path.encode(), flags, about=path)
    if attributes:
        try:
            restrict(fd, attributes, about=path)
        except BaseException:
            os.close(fd)
            raise
    return fd


def restrict(fd: int, attributes: int, about: str = "") -> None:
    """Add attributes to a whole tree; those it has stay."""
    wanted = _Attributes(attributes, 0, 0, 0)
    arguments = (fd, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, ctypes.byref(wanted), ctypes.sizeof(wanted))
    syscall(_MOUNT_SETATTR, "mount_setattr", *arguments, about=about)


def attach(fd: int, target: str) -> None:
    """Mount what `take` gave, also in another mount namespace than it was taken in."""
    syscall(_MOVE_MOUNT, "move_mount", fd, b"", _AT_FDCWD, target.encode(), _MOVE_MOUNT_F_EMPTY_PATH, about=target)


def bind(source: str, target: str, attributes: int = 0) -> None:
    fd = take(source, attributes)
    try:
        attach(fd, target)
    finally:
        os.close(fd)


def mount_tmpfs(target: str, options: str) -> None:
    _mount("tmpfs", target, "tmpfs", NO_SETUID | NO_DEVICES, options)


def mount_proc(target: str) -> None:
    """Of the pid namespace this process is in."""
    _mount("proc", target, "proc", NO_SETUID | NO_DEVICES | NO_PROGRAMS)


def make_read_only(target: str) -> None:
    """One mount, not what is mounted below it."""
    _mount(None, target, None, _MS_REMOUNT | _MS_BIND | READ_ONLY | NO_SETUID | NO_DEVICES)


def unmount(target: str) -> None:
    """Now, or as soon as nobody uses it."""
    call("umount2", target.encode(), _MNT_DETACH, about=target)


def change_root(target: str) -> None:
    """``target``, a mount, becomes ``/`` of this mount namespace; what was ``/`` is gone from it."""
    os.chdir(target)
    syscall(_PIVOT_ROOT[platform.machine()], "pivot_root", b".", b".", about=target)
    unmount(".")
    os.chdir("/")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    said = [None if text is None else text.encode() for text in (source, target, kind, options)]
    call("mount", said[0], said[1], said[2], ctypes.c_ulong(flags), said[3], about=f"{kind or 'flags'} on {target}")
