"""Messages over a unix socket: with descriptors beside them, and the sender's pid as this process numbers it."""

from __future__ import annotations

import array
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

_CREDENTIALS: Final = struct.Struct("iII")
_DESCRIPTORS: Final = 16


@dataclass(frozen=True, slots=True)
class Message:
    """``pid``: of the sender, 0 when the kernel did not say. ``fds`` are the receiver's to close."""

    data: bytes
    fds: tuple[int, ...]
    pid: int


def ask_for_pids(sock: socket.socket) -> None:
    """From now on the kernel puts the sender's pid beside every message, translated between pid namespaces."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def receive(sock: socket.socket, size: int) -> Message:
    """One message; ``data`` is empty at the end. Raises ``BlockingIOError`` when there is none yet."""
    room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_DESCRIPTORS * 4)
    data, ancillary, _, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    fds: array.array[int] = array.array("i")
    pid = 0
    for level, kind, content in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        elif kind == socket.SCM_CREDENTIALS:
            pid = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
    return Message(data, tuple(fds), pid)


def close_all(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
