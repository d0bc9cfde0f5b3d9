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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from box_agent.drivers.forking.peers import Message, ask_for_pids, close_all, receive
from box_agent.worker import processes
from box_agent.worker.template import ORDER_BYTES
from schemas.errors import DeadlineExceeded, DriverUnavailable, ErrorInfo, InvalidInput, error_from_info

_END_S: Final = 2.0
_HEARD_S: Final = 0.1


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a template answered; ``fds`` are the caller's to close."""

    content: dict[str, Any]
    fds: tuple[int, ...] = ()


class TemplateProcess:
    """One process that takes orders. `launch` starts the first one, `derive` forks further ones from it."""

    def __init__(self, control: socket.socket, child: subprocess.Popen[bytes] | None = None) -> None:
        """``control``: made by `template_pair`. Await `hello` before anything else."""
        control.setblocking(False)
        self.lends = child is not None
        """It runs no code but ours: descriptors that it answers with are taken."""
        self._control = control
        self._child = child
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._hello: asyncio.Future[Pidfd] = asyncio.get_running_loop().create_future()
        self._open = True
        asyncio.get_running_loop().add_reader(control.fileno(), self._on_readable)

    @classmethod
    async def launch(
        cls, variables: Mapping[str, str], home: Path, boot: str, timeout_s: float, fds: Sequence[int] = ()
    ) -> Self:
        """An interpreter with the platform's imports. Costs one interpreter start; it ends with this process.

        ``boot`` is the code it runs, where ``{fd}`` is its control socket and ``{parent}`` this process. ``home`` is
        among its arguments, and so among those of everything forked from it: a sweep finds them by it.
        """
        control, child = _start(variables, home, boot, fds)
        self = cls(control, child)
        await self.hello(timeout_s)
        return self

    async def derive(
        self, timeout_s: float, details: Mapping[str, Any] | None = None
    ) -> tuple[TemplateProcess, dict[str, Any]]:
        """A fork of this template that can load a Box, and what this one answered. ``details`` go with the order."""
        ours, theirs = template_pair()
        try:
            with theirs:
                answer = await self.order({"op": "derive", **(details or {})}, (theirs.fileno(),), timeout_s)
        except BaseException:
            ours.close()
            raise
        derived = TemplateProcess(ours)
        await derived.hello(timeout_s)
        return derived, answer.content

    async def hello(self, timeout_s: float) -> None:
        """Until it takes orders. Raises `DriverUnavailable` with what kept it from that, `TemplateGone`."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._hello)
        except BaseException as error:
            if self._child is not None:
                self._child.kill()
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise TemplateGone(f"it did not start within {timeout_s:g} s") from error
            raise

    @property
    def process(self) -> Pidfd:
        return self._hello.result()

    @property
    def alive(self) -> bool:
        return self._open and not self.process.ended.is_set()

    async def is_gone(self) -> bool:
        """Whether it has ended, also when that was so just now and nothing was heard of it yet."""
        try:
            async with asyncio.timeout(_HEARD_S):
                await self.process.ended.wait()
        except TimeoutError:
            return not self._open
        return True

    async def order(self, order: dict[str, Any], fds: Sequence[int], timeout_s: float) -> Answer:
        """The answer. Raises what the order failed with, `TemplateGone`, `DeadlineExceeded` (it is killed then).

        Cancelled, the order may still be carried out; closing the sockets that went with it undoes that.
        """
        number = next(self._numbers)
        data = json.dumps({**order, "n": number}).encode()
        if len(data) > ORDER_BYTES:
            raise InvalidInput(f"environment and limits take {len(data)} bytes, {ORDER_BYTES} are allowed")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        heard: Answer | None = None
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(data, fds)
                heard = await answer
            return heard
        except TimeoutError:
            self.process.send(signal.SIGKILL)  # it is stuck; the next who needs it makes a new one
            raise DeadlineExceeded(
                f"the template did not answer {order['op']!r} within {timeout_s:g} s",
                timeout="template",
                seconds=timeout_s,
            ) from None
        finally:
            del self._waiting[number]
            if heard is None:
                _leave(answer)

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
            message = receive(self._control, ORDER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()
            return
        if not message.data:
            self._hang_up()
            return
        try:
            self._answered(message)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ):  # a Box's code wrote there: it is no template any more
            self._hang_up()

    def _answered(self, message: Message) -> None:
        content = json.loads(message.data)
        waiting = self._waiting.get(content["n"]) if "n" in content else None
        if waiting is None or waiting.done() or not self.lends:
            close_all(message.fds)
        if "n" not in content:
            self._greet(content, message.pid)
        elif waiting is None or waiting.done():
            return
        elif "error" in content:
            waiting.set_exception(error_from_info(ErrorInfo.model_validate(content["error"])))
        else:
            waiting.set_result(Answer(content, message.fds if self.lends else ()))

    def _greet(self, content: dict[str, Any], pid: int) -> None:
        if self._hello.done():
            return
        if "failed" in content:
            self._hello.set_exception(DriverUnavailable(content["failed"]))
            return
        try:
            self._hello.set_result(Pidfd(pid))
        except ProcessLookupError:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        if not self._hello.done():
            self._hello.set_exception(TemplateGone("it ended as soon as it was made"))
            self._hello.exception()  # seen: whoever made it may have left
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(TemplateGone("it ended while it was at work"))

    async def aclose(self) -> None:
        """End it; its boxes go on. Returns when it has ended. Harmless twice."""
        self._hang_up()
        if self._hello.exception() is None:
            try:
                async with asyncio.timeout(_END_S):
                    await self.process.ended.wait()
            except TimeoutError:  # busy in somebody's setup()
                self.process.send(signal.SIGKILL)  # not what is below it: those are its boxes
                await self.process.ended.wait()
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)

    def kill_all(self) -> None:
        """With everything below it: for a template that never became ready, so has no boxes. Blocks for a moment."""
        if not self.process.ended.is_set():
            processes.kill_tree(self.process.pid)


def _leave(answer: asyncio.Future[Answer]) -> None:
    """Nobody waits for it any more, though it may have come: an error is seen so, descriptors are closed."""
    if not answer.cancel() and not answer.cancelled() and answer.exception() is None:
        close_all(answer.result().fds)


def template_pair() -> tuple[socket.socket, socket.socket]:
    """The node's end, which tells who speaks, and the template's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ask_for_pids(ours)
    return ours, theirs


def _start(
    variables: Mapping[str, str], home: Path, boot: str, fds: Sequence[int]
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = template_pair()
    root = str(Path(__file__).resolve().parents[3])
    code = "import sys; sys.path.append(sys.argv[1]); " + boot.format(fd=theirs.fileno(), parent=os.getpid())
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", code, root, str(home)],
            stdin=subprocess.DEVNULL,
            env=dict(variables),
            pass_fds=(theirs.fileno(), *fds),
            cwd="/",
        )
    return ours, child
