"""A template process seen from the node: orders over its control socket, and its end."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from box_agent.worker import processes
from box_agent.worker.template import ORDER_BYTES
from schemas.errors import DeadlineExceeded, ErrorInfo, InvalidInput, error_from_info

_BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]); from box_agent.worker.template import main; main({fd}, {parent})"
)
_END_S: Final = 2.0


class TemplateGone(Exception):
    """The template ended before it answered. Whoever needs it makes a new one."""


class Pidfd:
    """A process that is not necessarily our child: its end, and signals that cannot hit another one."""

    def __init__(self, pid: int) -> None:
        """Raises ``ProcessLookupError`` when it has ended and been collected."""
        self.pid = pid
        self._fd = os.pidfd_open(pid)
        self.ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._on_end)

    def _on_end(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self.ended.set()

    def send(self, number: int) -> None:
        """Harmless after the end."""
        if self._fd >= 0:
            try:
                signal.pidfd_send_signal(self._fd, number)
            except ProcessLookupError:
                pass  # it ended just now


class TemplateProcess:
    """One process that takes orders. `launch` starts the first one, `derive` forks further ones from it."""

    def __init__(self, control: socket.socket, pid: int) -> None:
        control.setblocking(False)
        self._control = control
        self.process = Pidfd(pid)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._open = True
        asyncio.get_running_loop().add_reader(control.fileno(), self._on_readable)

    @classmethod
    def launch(cls, variables: Mapping[str, str], home: Path) -> Self:
        """An interpreter with the platform's imports. Costs one interpreter start; it ends with this process.

        ``home`` is among its arguments, and so among those of everything forked from it: a sweep finds them by it.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = str(Path(__file__).resolve().parents[3])
        code = _BOOT.format(fd=theirs.fileno(), parent=os.getpid())
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", code, root, str(home)],
                stdin=subprocess.DEVNULL,
                env=dict(variables),
                pass_fds=(theirs.fileno(),),
                cwd="/",
            )
        self = cls(ours, child.pid)
        self._child = child
        return self

    _child: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._open and not self.process.ended.is_set()

    async def derive(self, timeout_s: float) -> TemplateProcess:
        """A fork of this template that can load a Box."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                answer = await self.order({"op": "derive"}, (theirs.fileno(),), timeout_s)
            return TemplateProcess(ours, answer["pid"])
        except ProcessLookupError as error:
            ours.close()
            raise TemplateGone("it ended as soon as it was made") from error
        except BaseException:
            ours.close()
            raise

    async def order(self, order: dict[str, Any], fds: Sequence[int], timeout_s: float) -> dict[str, Any]:
        """The answer. Raises what the order failed with, `TemplateGone`, `DeadlineExceeded` (it is killed then).

        Cancelled, the order may still be carried out; closing the sockets that went with it undoes that.
        """
        number = next(self._numbers)
        data = json.dumps({**order, "n": number}).encode()
        if len(data) > ORDER_BYTES:
            raise InvalidInput(f"environment and limits take {len(data)} bytes, {ORDER_BYTES} are allowed")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(data, fds)
                return await answer
        except TimeoutError:
            self.process.send(signal.SIGKILL)  # it is stuck; the next who needs it makes a new one
            raise DeadlineExceeded(
                f"the template did not answer {order['op']!r} within {timeout_s:g} s",
                timeout="template",
                seconds=timeout_s,
            ) from None
        finally:
            del self._waiting[number]

    async def _send(self, data: bytes, fds: Sequence[int]) -> None:
        while True:
            if not self.alive:
                raise TemplateGone("it has ended")
            try:
                socket.send_fds(self._control, [data], list(fds))
                return
            except BlockingIOError:
                await asyncio.sleep(0.001)  # its queue is full; it takes the next order within milliseconds
            except OSError as error:
                self._hang_up()
                raise TemplateGone("it has ended") from error

    def _on_readable(self) -> None:
        try:
            data = self._control.recv(ORDER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        answer = json.loads(data)
        waiting = self._waiting.get(answer["n"])
        if waiting is None or waiting.done():
            return
        if "error" in answer:
            waiting.set_exception(error_from_info(ErrorInfo.model_validate(answer["error"])))
        else:
            waiting.set_result(answer)

    def _hang_up(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(TemplateGone("it ended while it was at work"))

    async def aclose(self) -> None:
        """End it; its boxes go on. Returns when it has ended. Harmless twice."""
        self._hang_up()
        try:
            async with asyncio.timeout(_END_S):
                await self.process.ended.wait()
        except TimeoutError:  # busy in somebody's setup()
            await asyncio.to_thread(self._kill)
            await self.process.ended.wait()
        if self._child is not None:
            self._child.wait()

    def _kill(self) -> None:
        """With what its ``setup`` started; not with the boxes forked from it, which are below it too."""
        self.process.send(signal.SIGKILL)

    def kill_all(self) -> None:
        """With everything below it: for a template that never became ready, so has no boxes. Blocks for a moment."""
        if not self.process.ended.is_set():
            processes.kill_tree(self.process.pid)
