"""The far side of a world: its first process is an init, whose child loads the Box and becomes it."""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar, NoReturn

from box_agent.drivers.local import privileges, seccomp
from box_agent.drivers.local.template import LoneKeeper
from box_agent.worker import kernel
from box_agent.worker.init import Init
from box_agent.worker.keeper import Keeper, keep
from box_agent.worker.template import Template


def main(place: str) -> NoReturn:
    """``place``: where the node listens, first for what takes orders, then for what tells that the node is there."""
    control, lifeline = _connect(place), _connect(place)
    hold_nothing_of_the_engine()
    init = Init()
    own = os.getpid()
    if os.fork() == 0:
        init.leave()
        lifeline.close()
        kernel.die_with_parent(own)
        os.setsid()
        privileges.gain_nothing_by_exec()
        seccomp.Filter(seccomp.program()).install()
        ContainerTemplate(control).serve()
    control.close()
    init.run(lifeline.fileno(), alone=True)  # its control group goes with it, which tells what a box died of


def _connect(place: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.connect(place)
    return made


def hold_nothing_of_the_engine() -> None:
    """The log of who made the world must not be written by a Box."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


class ContainedTemplate(Template):
    """Forks one box, which has this world for itself."""

    keeper: ClassVar[type[Keeper]] = LoneKeeper

    def _spawn(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if kernel.bare_fork():
            return {}
        self._close()
        worker, control = fds

        def work(output: int) -> None:
            self._begin_work()
            self._become_worker(socket.socket(fileno=worker), output, order)

        keep(lambda: self.keeper(control, work), [worker])

    def _begin_work(self) -> None:
        privileges.open_to_inspection(True)  # its keeper was closed when it was forked


class ContainerTemplate(ContainedTemplate):
    """In a container all that is in it shares one limit of memory."""

    def _begin_work(self) -> None:
        super()._begin_work()
        privileges.be_ended_first()
