"""The first process: it sees the machine, runs no code but ours, makes stages and lends directories to boxes."""

from __future__ import annotations

import gc
import os
import socket
from typing import Any

from box_agent.drivers.local import forwarder, mounts, namespaces, stage
from box_agent.worker import kernel
from box_agent.worker.rehearsal import rehearse
from box_agent.worker.template import Template

_LENT = mounts.NO_SETUID | mounts.NO_DEVICES


def main(fd: int, parent: int, lifeline: int, identity: int) -> None:
    """``identity``: the user that boxes run as, when this process is root; 0: as the one it has."""
    kernel.die_with_parent(parent)
    os.setsid()
    control = socket.socket(fileno=fd)
    try:
        own = os.geteuid(), os.getegid()
        namespaces.unshare(namespaces.MOUNT if identity else namespaces.MOUNT | namespaces.USER)
        if not identity:
            namespaces.map_identity(0, *own)
        mounts.make_private()
    except OSError as error:
        stage.refuse(control, error)
    rehearse()
    gc.collect()
    gc.freeze()
    Ground(control, lifeline, identity).serve()


class Ground(Template):
    """Orders: ``derive`` (+ the template's socket), ``lend`` (answered with a detached mount of the directory),
    ``forward`` (+ a lifeline, the socket where the box will come, its cgroups; answered with the forwarder's pid)."""

    def __init__(self, control: socket.socket, lifeline: int, identity: int) -> None:
        super().__init__(control)
        self._lifeline = lifeline
        self._identity = identity
        self._lent: list[int] = []

    def _derive(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        pid = os.fork()
        if pid:
            return {"pid": pid}
        self._close()
        control = socket.socket(fileno=fds[0])
        try:
            stage.usher(order, control, self._lifeline, self._identity)
        except BaseException as error:  # noqa: BLE001 - whoever derives must hear it
            stage.refuse(control, error)

    def _lend(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        attributes = _LENT | mounts.READ_ONLY if order.get("read_only") else _LENT
        self._lent.append(mounts.take(order["directory"], attributes))
        return {}

    def _forward(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        pid = os.fork()
        if pid:
            return {"pid": pid}
        self._close()
        try:
            kernel.unblock_signals()
            os.setsid()
            os.close(self._lifeline)
            stage.hold_nothing_of_the_node()
            lifeline, meeting, *groups = fds
            forwarder.serve(order["ports"], lifeline, socket.socket(fileno=meeting), groups, self._identity)
        finally:
            os._exit(1)

    def _answer(self, answer: dict[str, Any]) -> None:
        import json

        try:
            socket.send_fds(self._control, [json.dumps(answer).encode()], self._lent)
        finally:
            while self._lent:
                os.close(self._lent.pop())
