"""From the ground to a template's own world: what a Box's code is loaded in, so nothing of it is trusted.

Four processes: the ground forks the *usher*, which builds the file system, becomes whom boxes run as, enters the new
namespaces and forks the *init* of the new pid namespace, which forks the template. The init ends everything when the
node is gone, which it knows by a pipe that the node holds open.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from box_agent.drivers.local import mounts, namespaces, privileges, rootfs, seccomp
from box_agent.drivers.local.template import StagedTemplate
from box_agent.worker import kernel


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
    wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    if os.fork() == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (wake, wake_write, lifeline):
            os.close(fd)
        try:
            _template(order, control, covered)
        except BaseException as error:  # noqa: BLE001 - see above
            refuse(control, error)
    control.close()
    _watch(lifeline, wake)


def _watch(lifeline: int, wake: int) -> NoReturn:
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if lifeline in ready:
            os._exit(0)  # the node is gone; the kernel kills everything on this stage
        os.read(wake, 512)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            os._exit(0)  # the template and all its boxes have ended


def _template(order: Mapping[str, Any], control: socket.socket, covered: list[str]) -> NoReturn:
    os.setsid()
    privileges.gain_nothing_by_exec()
    _FILTER.install()
    StagedTemplate(control, covered, order["network"]).serve()


_FILTER: Final = seccomp.Filter(seccomp.program(seccomp.LANDING) if seccomp.supported() else [])
