"""Entering new namespaces and going back to one."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Final

from box_agent.drivers.local.libc import call

MOUNT: Final = 0x00020000
CGROUP: Final = 0x02000000
HOST_NAME: Final = 0x04000000
IPC: Final = 0x08000000
USER: Final = 0x10000000
PID: Final = 0x20000000
NETWORK: Final = 0x40000000
ALL: Final = MOUNT | CGROUP | HOST_NAME | IPC | USER | PID | NETWORK
_NAMES: Final = {
    MOUNT: "mount", CGROUP: "cgroup", HOST_NAME: "uts", IPC: "ipc", USER: "user", PID: "pid", NETWORK: "net",
}  # fmt: skip
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_LOOPBACK_UP: Final = ctypes.create_string_buffer(struct.pack("16sH22x", b"lo", _IFF_UP))
"""Made once, and no socket object: what every box touches, every box has a copy of."""


def unshare(which: int) -> None:
    """New ones for this process; of `PID` for the children that it forks from now on."""
    call("unshare", which, about=_said(which))


def join(fd: int, which: int) -> None:
    """Those of ``fd``, a namespace or a process; of `PID` for the children that are forked from now on."""
    call("setns", fd, which, about=_said(which))


def _said(which: int) -> str:
    return ", ".join(name for flag, name in _NAMES.items() if which & flag)


def map_identity(inside: int, user: int, group: int) -> None:
    """In a user namespace just entered: the one user and group there are, ``inside``; and as its parent knows them."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {user} 1"), ("gid_map", f"{inside} {group} 1")):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def name_host(name: str) -> None:
    data = name.encode()[:63]
    call("sethostname", data, len(data))


def raise_loopback() -> None:
    """A new network namespace has a loopback device that is down, and nothing else."""
    fd = call("socket", socket.AF_INET.value, socket.SOCK_DGRAM.value, 0)
    try:
        call("ioctl", fd, _SIOCSIFFLAGS, _LOOPBACK_UP, about="lo")
    finally:
        os.close(fd)
