"""From the template to a box's own world. The worker makes it before anything else, and the keeper moves in."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from box_agent.drivers.local import mounts, namespaces, privileges, rootfs, seccomp

IDENTITY: Final = 1000
"""Of every process of a box, as it sees itself."""
_MASKED: Final = (
    "/proc/acpi", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/kcore", "/proc/keys",
    "/proc/key-users", "/proc/kmsg", "/proc/kallsyms", "/proc/latency_stats", "/proc/modules", "/proc/sched_debug",
    "/proc/scsi", "/proc/slabinfo", "/proc/sys", "/proc/sysrq-trigger", "/proc/timer_list", "/proc/timer_stats",
    "/proc/vmallocinfo",
)  # fmt: skip
_KEPT_READABLE: Final = ("/proc/sys",)
GRANTED: Final = b"+"
"""What a forwarder says when the ports are there; anything else is why they are not."""
_GRANTED_S: Final = 10.0
_SAID_BYTES: Final = 1000


@dataclass(frozen=True)
class Lent:
    """Descriptors that came with the order for a box, in this order."""

    workspace: int
    """A detached mount of its directory."""
    groups: Sequence[int] = ()
    """Cgroups to enter."""
    forwarder: int | None = None
    """Where `forwarder` waits, when the box was granted ports."""

    @classmethod
    def of(cls, order: Mapping[str, Any], fds: Sequence[int]) -> Self:
        workspace, *rest = fds
        forwarder = rest.pop(0) if order["ports"] else None
        return cls(workspace, rest, forwarder)

    @property
    def for_worker(self) -> list[int]:
        """Those that the keeper must not hold open."""
        return [self.workspace, *([] if self.forwarder is None else [self.forwarder])]


def enter_groups(groups: Sequence[int]) -> None:
    """The box's cgroups, as descriptors, which are closed."""
    for fd in groups:
        os.write(fd, b"0")  # this process; the permission came with the descriptor
        os.close(fd)


def land(order: Mapping[str, Any], lent: Lent) -> None:
    """In the worker: after this only what the box may do can be done."""
    privileges.open_to_inspection(True)  # its keeper was closed when it was forked
    own_namespaces(network=order["network"])
    forwarder = None if lent.forwarder is None else lend_network(lent.forwarder)
    see_files(order, lent.workspace)
    see_processes()
    namespaces.unshare(namespaces.USER)  # what is mounted belongs to the namespace it leaves: no power over it any more
    namespaces.map_identity(IDENTITY, 0, 0)
    limit(order["caps"])
    give_up()
    if forwarder is not None:
        have_ports(forwarder)


def follow(worker: int, *, network: bool) -> None:
    """In the keeper: to where its worker has landed, and no more may be done than there."""
    fd = os.pidfd_open(worker)
    try:
        namespaces.join(fd, namespaces.USER | _wanted(network=network))
    except ProcessLookupError:
        pass  # it has ended already: there is nothing to move into, and its end is still to be told
    finally:
        os.close(fd)
    give_up()


def own_namespaces(*, network: bool) -> None:
    namespaces.unshare(_wanted(network=network))
    if not network:
        namespaces.raise_loopback()
    namespaces.name_host("box")


def _wanted(*, network: bool) -> int:
    """``network``: that of the machine, instead of one of its own."""
    wanted = namespaces.MOUNT | namespaces.IPC | namespaces.HOST_NAME | namespaces.CGROUP
    return wanted if network else wanted | namespaces.NETWORK


def lend_network(fd: int) -> socket.socket:
    """To the box's forwarder, which makes the sockets of the granted ports there meanwhile."""
    forwarder = socket.socket(fileno=fd)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    socket.send_fds(forwarder, [b"."], [own])
    os.close(own)
    return forwarder


def have_ports(forwarder: socket.socket) -> None:
    """Wait until the granted ports can be connected to: code of the box may do so at once."""
    with forwarder:
        forwarder.settimeout(_GRANTED_S)
        said = forwarder.recv(_SAID_BYTES)
    if said != GRANTED:
        raise OSError(f"its ports cannot be forwarded: {said.decode(errors='replace') or 'the forwarder has ended'}")


def see_files(order: Mapping[str, Any], workspace: int) -> None:
    """Its directory, and a private memory file system for all else that it may write."""
    mounts.attach(workspace, rootfs.WORKSPACE)
    rootfs.mount_own(order["scratch_bytes"], order["covered"], inherit=True)


def see_processes() -> None:
    """Its own ``/proc``; what there is of the machine in it is covered, unless it cannot be opened anyway."""
    mounts.mount_proc("/proc")
    for path in _MASKED:
        if not os.access(path, os.R_OK):
            continue
        if path in _KEPT_READABLE:
            mounts.bind(path, path, mounts.READ_ONLY)
        elif os.path.isdir(path):  # noqa: PTH112 - twenty of them for each box
            mounts.bind(rootfs.NOTHING, path)
        else:
            mounts.bind("/dev/null", path)


def limit(caps: Mapping[str, int]) -> None:
    for name, value in caps.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def give_up() -> None:
    """Capabilities, and the system calls that nothing in a box needs."""
    privileges.drop_capabilities()
    close_the_door()


def close_the_door() -> None:
    """No program gives anything back, and the system calls that nothing in a box needs are refused."""
    privileges.gain_nothing_by_exec()
    _FILTER.install()


_FILTER: Final = seccomp.Filter(seccomp.program() if seccomp.supported() else [])
