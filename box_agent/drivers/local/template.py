"""`StagedTemplate`: a template on its stage, which forks boxes into worlds of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any, NoReturn

from box_agent.drivers.local import landing, namespaces, privileges
from box_agent.worker.keeper import Keeper, keep
from box_agent.worker.template import Template


class InitKeeper(Keeper):
    """A keeper that is pid 1: when it ends, the kernel ends the rest."""

    def run(self) -> None:
        privileges.open_to_inspection(False)  # of the same user as all of the box, so closed to all of it
        super().run()

    def _kill_rest(self) -> None:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nobody is left


class StagedTemplate(Template):
    """Made on its stage, with the capabilities that it takes to fork a box, over nothing but this stage."""

    def __init__(self, control: socket.socket, covered: list[str], network: bool) -> None:
        super().__init__(control)
        self._covered = covered
        self._network = network
        privileges.last_capability()
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def _spawn(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        namespaces.unshare(namespaces.PID)
        try:
            if os.fork():
                return {}
        finally:
            if os.getpid() != 1:
                namespaces.join(self._own_pids, namespaces.PID)
        self._leave()
        os.close(self._own_pids)
        self._begin(order, fds)

    def _begin(self, order: dict[str, Any], fds: list[int]) -> NoReturn:
        worker, control, *lent_fds = fds
        try:
            lent = landing.Lent.of(order, lent_fds)
            landing.land({**order, "covered": self._covered, "network": self._network}, lent)
            lent.close()
        except BaseException as error:  # noqa: BLE001 - whoever spawned must hear it
            os.write(control, json.dumps({"op": "failed", "text": f"{type(error).__name__}: {error}"}).encode())
            os._exit(1)

        def work(output: int) -> None:
            self._become_worker(socket.socket(fileno=worker), output, order)

        keep(socket.socket(fileno=control), work, worker, InitKeeper)
