"""Connections of a box to single ports of the machine's loopback, carried from one socket to the other.

Runs in a process of its own for each box (`forwarder`): what a box sends costs neither the node's time nor its
descriptors. What comes in is never looked at.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Mapping
from typing import Final

LOOPBACK: Final = "127.0.0.1"
CONNECTIONS: Final = 128
"""Of one box at once. Further ones wait in the kernel, `BACKLOG` for each port, until one of these has ended."""
BACKLOG: Final = 64
_BUFFER_BYTES: Final = 64 * 1024
"""Unsent in each direction before the sender is made to wait; one read may come on top, of 256 KiB at most."""
_CONNECT_S: Final = 5.0
OPEN_FILES: Final = 2 * CONNECTIONS + 128
"""What all of that takes, listening sockets included."""
_RESET: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` by which a close is a reset."""


class Relay:
    """Takes connections from ``listeners``, each for the machine's port it stands for."""

    def __init__(self, listeners: Mapping[int, socket.socket]) -> None:
        self._listeners = listeners
        self._carried = 0
        self._tasks: asyncio.TaskGroup

    async def run(self, lifeline: int) -> None:
        """Until ``lifeline``, a descriptor, is at its end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(lifeline, os._exit, 0)  # with everything that is under way
        for listener in self._listeners.values():
            listener.setblocking(False)
        async with asyncio.TaskGroup() as self._tasks:
            self._listen()
            await loop.create_future()

    def _listen(self) -> None:
        for port, listener in self._listeners.items():
            asyncio.get_running_loop().add_reader(listener, self._accept, port, listener)

    def _accept(self, port: int, listener: socket.socket) -> None:
        if self._carried == CONNECTIONS:
            for each in self._listeners.values():
                asyncio.get_running_loop().remove_reader(each)
            return
        try:
            inside, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it was hung up while it waited
        inside.setblocking(False)
        self._carried += 1
        self._tasks.create_task(self._carry(inside, port))

    async def _carry(self, inside: socket.socket, port: int) -> None:
        """Who connects in a box is through already: that nobody listens outside it sees as a reset."""
        try:
            outside = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await asyncio.get_running_loop().sock_connect(outside, (LOOPBACK, port))
            except (OSError, TimeoutError):
                _reset(outside)
                _reset(inside)
            else:
                await _join(inside, outside)
        finally:
            self._carried -= 1
            self._listen()


async def _join(*socks: socket.socket) -> None:
    """Returns when both are closed."""
    loop = asyncio.get_running_loop()
    one, other = _Side(), _Side()
    one.other, other.other = other, one
    for side, sock in zip((one, other), socks, strict=True):
        await loop.connect_accepted_socket(side.itself, sock)
    for side in (one, other):
        side.transport.resume_reading()
    for side in (one, other):
        await side.closed


class _Side(asyncio.Protocol):
    """One end of a carried connection. The end of what it sends is passed on by itself: the way back stays open."""

    transport: asyncio.Transport
    other: _Side

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = False

    def itself(self) -> _Side:
        """How a transport gets a protocol that is there already."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        self.other.transport.write_eof()
        if self.other._ended:
            for side in (self, self.other):
                side.transport.close()  # when all is sent
        return True

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Of a connection that was broken, the other end hears so too, and does not take it for complete."""
        if error is not None and not self.other.closed.done():
            sock: socket.socket = self.other.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.other.transport.abort()
        self.closed.set_result(None)


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
