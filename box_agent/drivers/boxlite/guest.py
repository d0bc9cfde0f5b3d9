"""The first process in the machine: it gives a template the descriptors that no line can carry."""

from __future__ import annotations

import json
import os
import select
import socket
from typing import Any, Final, NoReturn

from box_agent.drivers.boxlite.lines import Unpacker, pack
from box_agent.drivers.contained.inside import ContainedTemplate, hold_nothing_of_the_engine
from box_agent.drivers.local import privileges, seccomp
from box_agent.worker import kernel
from box_agent.worker.keeper import Keeper
from box_agent.worker.template import ORDER_BYTES

_PIECE: Final = 64 * 1024


class GuestTemplate(ContainedTemplate):
    keeper = Keeper


def main() -> NoReturn:
    """Standard input and output are the line; they end with the machine."""
    line_in, line_out = os.dup(0), os.dup(1)
    hold_nothing_of_the_engine()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel.adopt_orphans()
    own = os.getpid()
    if os.fork() == 0:
        for fd in (line_in, line_out):
            os.close(fd)
        ours.close()
        kernel.die_with_parent(own)
        os.setsid()
        if os.geteuid() == 0:
            privileges.drop_capabilities()
        privileges.gain_nothing_by_exec()
        seccomp.Filter(seccomp.program()).install()
        GuestTemplate(theirs).serve()
    theirs.close()
    Guest(line_in, line_out, ours).run()


class Guest:
    """Until the line or the template ends."""

    def __init__(self, line_in: int, line_out: int, template: socket.socket) -> None:
        self._in, self._out = line_in, line_out
        self._unpacker = Unpacker()
        self._sockets = {"answer": template}
        self._codes: list[bytes] = []
        self._log = -1

    def run(self) -> NoReturn:
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        known: dict[int, str] = {}
        while True:
            for name, sock in self._sockets.items():
                if sock.fileno() not in known:
                    known[sock.fileno()] = name
                    poll.register(sock, select.POLLIN)
            for fd, _ in poll.poll():
                if fd == self._in:
                    self._take(os.read(fd, _PIECE))
                elif not self._pass(known[fd]):
                    poll.unregister(fd)

    def _take(self, piece: bytes) -> None:
        if not piece:
            os._exit(0)  # nobody is on the line
        for channel, data in self._unpacker.feed(piece):
            if channel == "code":
                self._codes.append(data)
            elif channel == "order":
                self._order(data)
            elif channel in self._sockets:
                self._sockets[channel].sendall(data)

    def _order(self, data: bytes) -> None:
        order: dict[str, Any] = json.loads(data)
        if order["op"] == "load":
            self._log = os.memfd_create("log", 0)
            fds = [self._log, *map(_in_memory, self._codes)]
            self._codes.clear()
            socket.send_fds(self._sockets["answer"], [data], fds)
            for fd in fds[1:]:
                os.close(fd)
            return
        worker, worker_end = socket.socketpair()
        keeper, keeper_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sockets |= {"worker": worker, "keeper": keeper}
        with worker_end, keeper_end:
            socket.send_fds(self._sockets["answer"], [data], [worker_end.fileno(), keeper_end.fileno()])

    def _pass(self, channel: str) -> bool:
        """What one of the sockets has, over the line; ``False`` at its end."""
        try:
            data = self._sockets[channel].recv(max(_PIECE, ORDER_BYTES))
        except OSError:
            data = b""
        if not data:
            if channel == "answer":
                os._exit(0)  # the template has ended, and with it the box
            return False
        if channel == "answer" and self._log >= 0:
            self._send("log", os.pread(self._log, _PIECE, 0))
        self._send(channel, data)
        return True

    def _send(self, channel: str, data: bytes) -> None:
        left = memoryview(pack(channel, data))
        while left:
            left = left[os.write(self._out, left) :]


def _in_memory(code: bytes) -> int:
    fd = os.memfd_create("code", 0)
    os.write(fd, code)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


if __name__ == "__main__":
    main()
