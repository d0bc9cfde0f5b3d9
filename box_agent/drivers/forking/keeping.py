"""The node's end of a keeper's control socket: who the processes are, output of the box, and how it ended."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Final

from box_agent.drivers.forking.peers import ask_for_pids, close_all, receive
from schemas.errors import BoxDied

_MESSAGE_BYTES: Final = 128 * 1024


async def keeper_of(control: socket.socket, box: str) -> int:
    """The keeper's pid, as soon as it has said that it began. Raises `BoxDied` with what kept it from that."""
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    readable = asyncio.Event()
    loop.add_reader(control.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(control.fileno())
    try:
        message = receive(control, _MESSAGE_BYTES)
    except OSError as error:
        raise BoxDied(f"{box} ended as soon as it was made", box=box) from error
    close_all(message.fds)
    if not message.data:
        raise BoxDied(f"{box} ended as soon as it was made", box=box)
    said = json.loads(message.data)
    if said["op"] == "failed":
        raise BoxDied(f"{box} could not be made: {said['text']}", box=box)
    return message.pid


class KeeperControl:
    """``on_exit`` is called once: with the keeper's last word, or ``None`` when it ended without one."""

    def __init__(
        self,
        control: socket.socket,
        on_output: Callable[[str, int], None],
        on_exit: Callable[[dict[str, Any] | None], None],
    ) -> None:
        control.setblocking(False)
        self.worker: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The worker's pid as this machine numbers it; never done when the box ends before it has one."""
        self._control: socket.socket | None = control
        self._on_output = on_output
        self._on_exit = on_exit
        asyncio.get_running_loop().add_reader(control.fileno(), self._on_readable)

    def stop(self, grace_s: float) -> None:
        """Let the keeper kill everything that is left after ``grace_s``. Harmless after the end."""
        if self._control is None:
            return
        try:
            self._control.send(json.dumps({"op": "stop", "grace_s": grace_s}).encode())
        except OSError:
            pass  # it is gone, which `on_exit` tells; or so stuck that its queue is full: then it gets killed

    def _on_readable(self) -> None:
        assert self._control is not None
        try:
            message = receive(self._control, _MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._end(None)
            return
        close_all(message.fds)
        if not message.data:
            self._end(None)
            return
        said = json.loads(message.data)
        if said["op"] == "output":
            self._on_output(said["text"], said["dropped"])
        elif said["op"] == "working":
            self.worker.set_result(message.pid)
        else:
            self._end(said)

    def _end(self, last: dict[str, Any] | None) -> None:
        self.close()
        self._on_exit(last)

    def close(self) -> None:
        """Hang up; a keeper that still lives ends its box then. Harmless twice."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None


def control_pair() -> tuple[socket.socket, socket.socket]:
    """The node's end, which tells who speaks, and the keeper's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ask_for_pids(ours)
    return ours, theirs
