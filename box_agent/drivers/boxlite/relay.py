"""The child on this machine: it holds one virtual machine, and carries a box's sockets over its line."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from box_agent.drivers.boxlite.lines import Line, Unpacker, pack
from box_agent.drivers.forking.peers import receive
from box_agent.worker.template import ORDER_BYTES

_PIECE: Final = 64 * 1024
OpenLine = Callable[[dict[str, Any]], Awaitable[Line]]


def main(control: str, lifeline: str, order: str) -> NoReturn:
    from box_agent.drivers.boxlite.machine import open_machine

    serve(int(control), int(lifeline), json.loads(order), open_machine)


def serve(control: int, lifeline: int, order: dict[str, Any], open_line: OpenLine) -> NoReturn:
    """Until the box, the machine or the node has ended."""
    os.setsid()
    asyncio.run(_serve(socket.socket(fileno=control), lifeline, order, open_line))
    os._exit(0)


async def _serve(control: socket.socket, lifeline: int, order: dict[str, Any], open_line: OpenLine) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(lifeline, gone.set)
    opening = asyncio.ensure_future(open_line(order))
    leaving = asyncio.ensure_future(gone.wait())
    await asyncio.wait({opening, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():
        opening.cancel()
        await asyncio.wait({opening})
        return
    try:
        line = opening.result()
    except Exception as error:  # noqa: BLE001 - whatever kept the machine from its start, whoever wants it must hear it
        control.send(json.dumps({"failed": str(error) or type(error).__name__}).encode())
        return
    relay = Relay(control, line)
    running = asyncio.ensure_future(relay.run())
    try:
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        running.cancel()
        await line.aclose()


class Relay:
    """Between the node's sockets and one line."""

    def __init__(self, control: socket.socket, line: Line) -> None:
        control.setblocking(False)
        self._control = control
        self._line = line
        self._log = -1
        self._sockets: dict[str, socket.socket] = {}
        self._out: asyncio.Queue[bytes] = asyncio.Queue(maxsize=256)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._orders(group))
            group.create_task(self._send())
            await self._receive()
            raise asyncio.CancelledError  # the guest has ended

    async def _send(self) -> None:
        while True:
            await self._line.send(await self._out.get())

    async def _orders(self, group: asyncio.TaskGroup) -> None:
        while True:
            await _readable(self._control)
            message = receive(self._control, ORDER_BYTES)
            if not message.data:
                return
            if json.loads(message.data)["op"] == "load":
                self._log = message.fds[0]
                for code in message.fds[1:]:
                    with os.fdopen(code, "rb") as file:
                        await self._out.put(pack("code", file.read()))
            else:
                for name, fd in zip(("worker", "keeper"), message.fds, strict=True):
                    sock = self._sockets[name] = socket.socket(fileno=fd)
                    sock.setblocking(False)
                    group.create_task(self._pass(name, sock))
            await self._out.put(pack("order", message.data))

    async def _pass(self, name: str, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(sock, _PIECE):
            await self._out.put(pack(name, data))

    async def _receive(self) -> None:
        """Until the guest, or the box, has ended."""
        unpacker = Unpacker()
        async for piece in self._line.received():
            for channel, data in unpacker.feed(piece):
                await self._deliver(channel, data)
                if channel == "keeper" and json.loads(data)["op"] == "exit":
                    return

    async def _deliver(self, channel: str, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        if channel == "log":
            os.ftruncate(self._log, 0)
            os.pwrite(self._log, data, 0)
        elif channel == "answer":
            await loop.sock_sendall(self._control, data)
        elif channel in self._sockets:
            await loop.sock_sendall(self._sockets[channel], data)


async def _readable(sock: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())
