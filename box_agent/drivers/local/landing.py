"""From the template to a box's own world. The worker makes it before anything else, and the keeper moves in."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from typing import Any, Final

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


def enter_groups(groups: Sequence[int]) -> None:
    """The box's cgroups, as descriptors, which are closed."""
    for fd in groups:
        os.write(fd, b"0")  # this process; the permission came with the descriptor
        os.close(fd)


def land(order: Mapping[str, Any], workspace: int) -> None:
    """In the worker: after this only what the box may do can be done. ``workspace`` is a detached mount."""
    privileges.open_to_inspection(True)  # its keeper was closed when it was forked
    own_namespaces(network=order["network"])
    see_files(order, workspace)
    see_processes()
    namespaces.unshare(namespaces.USER)  # what is mounted belongs to the namespace it leaves: no power over it any more
    namespaces.map_identity(IDENTITY, 0, 0)
    limit(order["caps"])
    give_up()


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
    privileges.gain_nothing_by_exec()
    _FILTER.install()


_FILTER: Final = seccomp.Filter(seccomp.program() if seccomp.supported() else [])
