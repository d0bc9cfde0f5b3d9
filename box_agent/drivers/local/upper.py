"""From a template to a stage within its stage, for the template of a Box that stands on it.

What that one has beyond its prefix is neither seen by the prefix nor by any other Box on it: it has its own user, pid,
mount, network, ipc and uts namespaces below those of the prefix, so its code has no power over the prefix's processes
and files, though it was forked from it. Two processes: the *init* of the new pid namespace, and the template.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from box_agent.drivers.local import mounts, namespaces, rootfs


def rise(covered: Sequence[str], network: bool) -> None:
    """In a fresh fork of a template. Returns in what becomes the other one; never here."""
    namespaces.unshare(namespaces.ALL & ~namespaces.NETWORK if network else namespaces.ALL)
    namespaces.map_identity(0, 0, 0)
    if os.fork():
        os._exit(0)  # the template below collects it, or its init
    mounts.make_private()
    mounts.mount_proc("/proc")
    rootfs.mount_own(rootfs.LEFT_BYTES, covered, inherit=True)
    if not network:
        namespaces.raise_loopback()
    if os.fork():
        _reap_until_alone()
    os.setsid()


def _reap_until_alone() -> NoReturn:
    """As init. It ends with the stage below, which ends with the node: the kernel sees to that."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers are wanted
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                continue  # of this very listing
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            os._exit(0)  # the template and all its boxes have ended
