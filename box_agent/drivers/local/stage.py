"""From the ground to a template's own world: what a Box's code is loaded in, so nothing of it is trusted.

Four processes: the ground forks the *usher*, which builds the file system, becomes whom boxes run as, enters the new
namespaces and forks the *init* of the new pid namespace, which forks the template. The init ends everything when the
node is gone, which it knows by a pipe that the node holds open.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from box_agent.drivers.local import mounts, namespaces, privileges, rootfs, seccomp
from box_agent.drivers.local.template import StagedTemplate
from box_agent.worker import kernel
from box_agent.worker.init import Init


def usher(order: Mapping[str, Any], control: socket.socket, lifeline: int, identity: int) -> NoReturn:
    """In a fresh fork of the ground. Raises what keeps it from being done. Ends when everything on the stage has."""
    kernel.unblock_signals()
    os.setsid()
    hold_nothing_of_the_node()
    namespaces.unshare(namespaces.MOUNT)
    rootfs.build(order["root"], order["binds"], order["granted"], order["network"])
    mounts.change_root(order["root"])
    mounts.make_read_only("/")
    if identity:
        privileges.become(identity)
    wanted = namespaces.ALL & ~namespaces.NETWORK if order["network"] else namespaces.ALL
    namespaces.unshare(wanted)
    namespaces.map_identity(
        0, identity, identity
    )  # another user namespace than the mounts were made in: so they are locked
    pid = os.fork()
    if pid == 0:
        try:
            _init(order, control, lifeline)
        except BaseException as error:  # noqa: BLE001 - whoever derives must hear it
            refuse(control, error)
    control.close()
    os.close(lifeline)
    os.waitpid(pid, 0)
    os._exit(0)


def hold_nothing_of_the_node() -> None:
    """Its terminal, or the pipe that somebody reads its output from, must not be kept open by a Box."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def refuse(control: socket.socket, error: BaseException) -> NoReturn:
    """Say in place of hello what went wrong, and end."""
    import json

    control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
    os._exit(1)


def _init(order: Mapping[str, Any], control: socket.socket, lifeline: int) -> NoReturn:
    privileges.end_with_parent(signal.SIGKILL)
    mounts.make_private()
    mounts.mount_proc("/proc")
    covered = rootfs.hidden(rootfs.readable())
    rootfs.mount_own(rootfs.LEFT_BYTES, covered, inherit=False)
    if not order["network"]:
        namespaces.raise_loopback()
    init = Init()
    if os.fork() == 0:
        init.leave()
        os.close(lifeline)
        try:
            _template(order, control, covered)
        except BaseException as error:  # noqa: BLE001 - see above
            refuse(control, error)
    control.close()
    init.run(lifeline)


def _template(order: Mapping[str, Any], control: socket.socket, covered: list[str]) -> NoReturn:
    os.setsid()
    privileges.gain_nothing_by_exec()
    _FILTER.install()
    StagedTemplate(control, covered, order["network"]).serve()


_FILTER: Final = seccomp.Filter(seccomp.program(seccomp.LANDING) if seccomp.supported() else [])
