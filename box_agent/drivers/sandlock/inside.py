"""The far side: a supervisor that runs no code of the Box, and below it all that does, confined before it is loaded."""

from __future__ import annotations

import json
import os
import socket
from typing import Any, ClassVar, Final, NoReturn

from box_agent.drivers.contained.inside import ContainedTemplate, hold_nothing_of_the_engine
from box_agent.drivers.local import privileges, seccomp
from box_agent.worker import kernel, processes
from box_agent.worker.init import Init
from box_agent.worker.keeper import Keeper

_NO_FAMILY: Final = ()


class Supervisor(Init):
    """Everything that starts below it stays below it, and ends with it."""

    def __init__(self) -> None:
        super().__init__()
        kernel.adopt_orphans()

    def end(self) -> NoReturn:
        processes.kill_descendants(os.getpid())
        os._exit(0)


class ClosedKeeper(Keeper):
    """A keeper of the same user as its box, which cannot look into it."""

    def run(self) -> None:
        privileges.open_to_inspection(False)
        super().run()


class ConfinedTemplate(ContainedTemplate):
    keeper: ClassVar[type[Keeper]] = ClosedKeeper


def main(control_fd: str, lifeline_fd: str, order: str) -> NoReturn:
    """``order``: JSON with ``readable``, ``writable`` (paths) and ``network``."""
    control, lifeline = int(control_fd), int(lifeline_fd)
    os.setsid()
    hold_nothing_of_the_engine()
    supervisor, own = Supervisor(), os.getpid()
    if os.fork() == 0:
        supervisor.leave()
        os.close(lifeline)
        kernel.die_with_parent(own)
        os.setsid()
        taking = socket.socket(fileno=control)
        try:
            confine(json.loads(order))
        except BaseException as error:  # noqa: BLE001 - whoever opens this world must hear it
            taking.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
            os._exit(1)
        ConfinedTemplate(taking).serve()
    os.close(control)
    supervisor.run(lifeline)


def confine(order: dict[str, Any]) -> None:
    """This process and all it starts, for good."""
    import sandlock

    if os.geteuid() == 0:
        privileges.drop_capabilities()  # files of others, and the memory of other processes
    sandlock.confine(sandlock.Sandbox(fs_readable=order["readable"], fs_writable=order["writable"]))
    privileges.gain_nothing_by_exec()
    code = seccomp.program() if order["network"] else seccomp.program(families=_NO_FAMILY)
    seccomp.Filter(code).install()
