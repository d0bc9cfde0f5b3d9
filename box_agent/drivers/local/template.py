"""`StagedTemplate`: a template on its stage, which forks boxes into worlds of their own."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from box_agent.drivers.local import landing, namespaces, privileges, rootfs, upper
from box_agent.worker import kernel
from box_agent.worker.frames import Wire
from box_agent.worker.keeper import Keeper, keep
from box_agent.worker.template import Template
from schemas.errors import BoxDied, BoxhubError, LimitExceeded


class LoneKeeper(Keeper):
    """Of the same user as its box, so it is closed to all of it; there is nothing but this box in its pid namespace."""

    def __init__(self, control: int, work: Callable[[int], None]) -> None:
        """``work`` is closed as well, until it opens itself."""
        privileges.open_to_inspection(False)
        super().__init__(control, work)

    def _kill_rest(self) -> None:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nobody is left


class InitKeeper(LoneKeeper):
    """A keeper that is pid 1: when it ends, the kernel ends the rest."""

    def __init__(self, control: int, work: Callable[[int], None], landed: int, *, network: bool) -> None:
        """``landed``: readable when the worker stands in the box's own world; at its end when it never will."""
        super().__init__(control, work)
        self._landed = landed
        self._network = network

    def run(self) -> None:
        if os.read(self._landed, 1):
            landing.follow(self._worker, network=self._network)
        os.close(self._landed)
        super().run()


class StagedTemplate(Template):
    """Made on its stage, with the capabilities that it takes to fork a box, over nothing but this stage."""

    def __init__(self, control: socket.socket, covered: list[str], network: bool) -> None:
        super().__init__(control)
        self._covered = covered
        self._network = network
        privileges.last_capability()
        self._own_pids = _own_pids()

    def _spawn(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        namespaces.unshare(namespaces.PID)
        pid = -1
        try:
            pid = kernel.bare_fork()
        finally:
            if pid:
                namespaces.join(self._own_pids, namespaces.PID)
        if pid:
            return {}
        self._close()
        os.close(self._own_pids)
        self._begin(order, fds)

    def _derive(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """On a stage of its own within this one, with all that this one has loaded."""
        if os.fork():
            return {}
        try:
            self._close()
            os.close(self._own_pids)
            upper.rise(self._covered, self._network)
            self._own_pids = _own_pids()
            self._serve_on(fds)
        except BaseException as error:  # noqa: BLE001 - whoever derives must hear it
            os.write(fds[0], json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        finally:
            os._exit(1)

    def _see(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """The files of its own environment, which come here and not by way of the template that it was forked from."""
        directory, *packages = fds
        rootfs.show(directory, dict(zip(order["packages"], packages, strict=True)))
        return {}

    def _begin(self, order: dict[str, Any], fds: list[int]) -> NoReturn:
        worker, control, *others = fds
        lent = landing.Lent.of(order, others)
        landed, landed_write = os.pipe2(os.O_CLOEXEC)

        def work(output: int) -> None:
            sock = socket.socket(fileno=worker)
            os.close(landed)
            try:
                landing.land({**order, "covered": self._covered, "network": self._network}, lent)
            except BaseException as error:  # noqa: BLE001 - whoever spawned must hear it
                said = _refusal(order, error)
                Wire(sock).send({"t": "failed", "error": said.to_info().model_dump(mode="json")})
                os._exit(1)
            os.close(lent.workspace)
            os.write(landed_write, b".")
            os.close(landed_write)
            self._become_worker(sock, output, order)

        def keeper() -> Keeper:
            landing.enter_groups(lent.groups)
            return InitKeeper(control, work, landed, network=self._network)

        keep(keeper, [worker, *lent.for_worker, landed_write])


def _refusal(order: dict[str, Any], error: BaseException) -> BoxhubError:
    """Why the box could not be made; copying what ``setup`` left is the one thing that its own limit may forbid."""
    box, allowed = order["box"], order["scratch_bytes"]
    if isinstance(error, OSError) and f"[Errno {errno.ENOSPC}]" in str(error):
        said = f"{box}: setup() left more in its home, /tmp and /dev/shm than the {allowed} bytes a box may have there"
        return LimitExceeded(said, limit="disk_bytes", allowed=allowed, box=box)
    return BoxDied(f"{box} could not be made: {type(error).__name__}: {error}")


def _own_pids() -> int:
    return os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
