"""The template: a single-threaded process with a Box's code loaded and set up, which forks a box on demand.

The first template of a node has nothing but the platform's own imports. ``derive`` forks it into one per definition,
so a new Box pays for its own imports only, and forks that one into those of Boxes that stand on it: what they add is
loaded on top. Code of a Box is never loaded into a process that has some of another one.

Control socket (SEQPACKET, JSON, descriptors beside it). Orders: ``derive`` (+ the new template's socket), ``load``
(+ its log, the code, part by part), ``spawn`` (+ the worker's socket, the keeper's socket). Every order gets one
answer; before the first one the template says hello, by which the node learns its pid.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, Final, NoReturn

from box_agent.box.program import Program
from box_agent.worker import kernel
from box_agent.worker.carried import Before
from box_agent.worker.config import extend_environment, replace_environment
from box_agent.worker.imports import Imports
from box_agent.worker.keeper import Keeper, keep
from box_agent.worker.rehearsal import rehearse
from box_agent.worker.serving import BoxSurroundings, Worker, setup_error

_DESCRIPTORS: Final = 32
ORDER_BYTES: Final = 192 * 1024
"""Largest order or answer; what is larger travels as a file."""
_DEFAULT: Final = (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(fd: int, parent: int) -> None:
    """The first template; ``parent`` is the node, without which it must not be."""
    kernel.die_with_parent(parent)
    os.setsid()
    rehearse()
    Template(socket.socket(fileno=fd)).serve()


class Template:
    """Serves orders until its control socket closes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._surroundings = BoxSurroundings(Path.cwd())
        self._program = Program([], {})
        self._late: list[bytes] = []  # code that is loaded in every box, because its imports do not outlast a fork
        self._variables: dict[str, str] | None = None
        self._imports = Imports()
        self._ended = -1

    def serve(self) -> NoReturn:
        kernel.adopt_orphans()  # of a keeper that was killed: the driver finds them by their parent
        kernel.block_ends_of_children()
        self._ended = kernel.ends_of_children()
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        self._control.send(json.dumps({"hello": True}).encode())
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._ended in ready:
                os.read(self._ended, 512)
                _reap()
            if self._control.fileno() in ready:
                self._obey()

    def _obey(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._control, ORDER_BYTES, _DESCRIPTORS)
        if not data:
            os._exit(0)
        order = json.loads(data)
        answer: dict[str, Any]
        try:
            answer = getattr(self, f"_{order['op']}")(order, fds)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything; whoever ordered must hear it
            answer = {"error": _printable(error)}
        finally:
            for fd in fds:
                os.close(fd)
        self._answer({**answer, "n": order["n"]})

    def _answer(self, answer: dict[str, Any]) -> None:
        self._control.send(json.dumps(answer).encode())

    # --- orders -------------------------------------------------------------------------------------------------------

    def _derive(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        former = os.getpid()
        if os.fork():
            return {}
        self._close()
        try:
            kernel.die_with_parent(former)
            os.setsid()
            self._serve_on(fds)
        finally:
            os._exit(1)

    def _serve_on(self, fds: list[int]) -> NoReturn:
        """As another template from now on, which has all that is loaded and nothing of what is open."""
        self._control = socket.socket(fileno=os.dup(fds[0]))
        for fd in fds:
            os.close(fd)
        self.serve()

    def _load(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Code, imports, ``setup``; then memory is frozen, so that forks share it.

        ``late`` of the order: "" nothing, "setup" or "code", which is what every box has to do by itself.
        """
        kernel.unblock_signals()
        try:
            return self._carry_out_load(order, fds)
        finally:
            kernel.block_ends_of_children()

    def _carry_out_load(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        for number in (1, 2):
            os.dup2(fds[0], number)  # what `setup` prints goes to a file, for whoever looks why it failed
        replace_environment(order["env"], self._variables)
        self._variables = order["env"]
        self._surroundings.directory = Path(order["directory"])
        os.chdir(order["directory"])
        why = self._imports.move(order["sys_path"])
        if why:
            return {"apart": why}
        late = "code" if self._late else order["late"]
        before, below = Before(), self._program.started
        for fd in fds[1:]:
            if late == "code":
                self._late.append(_content(fd))
            else:
                self._program.add(Program.unpack(_content(fd)))
        for name in self._program.routes if not self._late else ():
            self._program.bound(name)
        if late != "code" and (unclean := before.left("importing its modules")):
            return {"unclean": unclean, "late": "code"}
        if not late and below:
            self._program.start(self._surroundings)
            if unclean := before.left("setup()"):
                return {"unclean": unclean, "late": "setup"}
        _default_signals()
        self._imports.remember()
        gc.collect()
        gc.freeze()
        return {"loaded": True}

    def _spawn(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if kernel.bare_fork():
            return {}
        self._close()
        worker, control = fds

        def work(output: int) -> None:
            self._become_worker(socket.socket(fileno=worker), output, order)

        keep(lambda: Keeper(control, work), [worker])

    # --- in a child ---------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """What belongs to the template, right after a fork."""
        self._control.close()
        os.close(self._ended)

    def _become_worker(self, sock: socket.socket, output: int, order: dict[str, Any]) -> NoReturn:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for fd in (null, output):
            os.close(fd)
        os.chdir(order["directory"])
        extend_environment(order["env"])
        self._surroundings.directory = Path(order["directory"])
        _limit(order["limits"])
        _reseed()
        worker = Worker(sock, order["box"], self._surroundings)
        worker.run(self._program, self._late, concurrency=order["concurrency"])


def _default_signals() -> None:
    """What boxes do on these is not up to ``setup``."""
    for number in _DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _content(fd: int) -> bytes:
    with os.fdopen(os.dup(fd), "rb") as file:
        return file.read()


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in limits.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def _reseed() -> None:
    """`random` does so by itself; NumPy does not."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _printable(error: BaseException) -> dict[str, Any]:
    info = setup_error(error).to_info().model_dump(mode="json")
    info["message"] = info["message"][:8000]
    text = "".join(traceback.format_exception(error, limit=-20))[-16000:]
    return {**info, "details": {"type": type(error).__name__, "traceback": text, **_small(info["details"])}}


def _small(details: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if len(repr(value)) < 16000}
