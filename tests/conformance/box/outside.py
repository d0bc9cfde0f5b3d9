"""Servers on the machine's loopback that a box may have been granted, and a Box that goes there."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from box_agent import Box, skill

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


async def reverse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers when all has come, which only a half-closed connection can say."""
    writer.write((await reader.read())[::-1])
    writer.close()


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The hash of what comes, then as many bytes again."""
    seen = hashlib.sha256()
    size = 0
    while data := await reader.read(2**18):
        seen.update(data)
        size += len(data)
    writer.write(seen.digest())
    for _ in range(0, size, 2**16):
        writer.write(bytes(2**16))
        await writer.drain()
    writer.close()


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hangs up in the middle of an answer."""
    await reader.readexactly(1)
    writer.write(b"half of it")
    await writer.drain()
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Caller(Box):
    """Speaks TCP to ports of its loopback."""

    @skill
    def exchange(self, port: int, text: str, timeout_s: float = 5.0) -> str:
        """What comes back when all was sent; ``reset`` when the connection was broken."""
        with socket.create_connection(("127.0.0.1", port), timeout_s) as sock:
            sock.sendall(text.encode())
            sock.shutdown(socket.SHUT_WR)
            try:
                return _rest(sock).decode()
            except ConnectionResetError:
                return "reset"

    @skill
    def begin(self, port: int, text: str) -> str:
        """Like `exchange`, but this side stays open. ``refused`` when there was no connection at all."""
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(text.encode())
                return _rest(sock).decode()
        except ConnectionResetError:
            return "reset"
        except ConnectionRefusedError:
            return "refused"

    @skill
    def much(self, port: int, size_bytes: int) -> bool:
        """Whether all arrived there, and as much came back."""
        block = bytes(range(256)) * 256
        seen = hashlib.sha256()
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            for _ in range(0, size_bytes, len(block)):
                sock.sendall(block)
                seen.update(block)
            sock.shutdown(socket.SHUT_WR)
            back = _rest(sock)
        return back[:32] == seen.digest() and len(back) == 32 + size_bytes

    @skill
    def keep_open(self, port: int, number: int) -> int:
        """So many connections that nobody closes."""
        self.kept = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(number)]
        return len(self.kept)

    @skill
    def let_go(self) -> None:
        for sock in self.kept:
            sock.close()

    @skill
    def read(self, path: str) -> str:
        return Path(path).read_text()

    @skill
    def write(self, path: str, text: str) -> None:
        Path(path).write_text(text)

    @skill
    def run_there(self, command: str) -> int:
        return self.run(command).exit_code


class Eager(Caller):
    """Cannot be set up in a template, so is in the box: its ports are there by then."""

    def setup(self) -> None:
        self.open = socket.socket()
        self.open.bind(("127.0.0.1", 0))
        self.first = Path("port").exists() and self._ask(int(Path("port").read_text()))

    def _ask(self, port: int) -> str:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(b"early")
            sock.shutdown(socket.SHUT_WR)
            return _rest(sock).decode()

    @skill
    def heard(self) -> str:
        return str(self.first)


class Reader(Box):
    """Reads a granted directory once, for all its boxes."""

    def setup(self) -> None:
        self.menu = Path("/data/menu.txt").read_text()

    @skill
    def kept(self) -> str:
        return self.menu


def _rest(sock: socket.socket) -> bytes:
    found = bytearray()
    while data := sock.recv(2**16):
        found += data
    return bytes(found)
