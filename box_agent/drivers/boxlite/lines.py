"""What goes over the line between relay and guest: a channel's name and its data in base 64, one line each."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Protocol

CHANNELS = ("order", "code", "answer", "log", "worker", "keeper")
"""To the guest: orders with their code. From it: answers with what the set-up printed. Both ways: a box's sockets."""


class Line(Protocol):
    """The relay's end."""

    async def send(self, line: bytes) -> None: ...

    def received(self) -> AsyncIterator[bytes]:
        """Pieces as they come, until the guest has ended."""
        ...

    async def aclose(self) -> None:
        """Returns when nothing of the machine is left."""
        ...


def pack(channel: str, data: bytes) -> bytes:
    return channel.encode() + b" " + base64.b64encode(data) + b"\n"


class Unpacker:
    """Cuts pieces into lines. What is no line of ours, such as a kernel's message, is passed over."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[tuple[str, bytes]]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        found = []
        for line in lines:
            name, _, data = line.partition(b" ")
            if name.decode(errors="replace") in CHANNELS:
                found.append((name.decode(), base64.b64decode(data, validate=True)))
        return found
