"""Messages on the socket between node and worker: a length, then JSON."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, Final

import pydantic_core

Frame = dict[str, Any]

HEADER: Final = struct.Struct(">I")
MAX_BYTES: Final = 64 * 1024 * 1024
"""No frame is larger; a peer that announces more is broken."""


class FrameTooLarge(ValueError):
    """More than `MAX_BYTES`."""


def encode(frame: Frame) -> bytes:
    """Raises ``ValueError`` for what JSON cannot say, `FrameTooLarge`."""
    body = pydantic_core.to_json(frame, inf_nan_mode="constants")
    if len(body) > MAX_BYTES:
        raise FrameTooLarge(f"{len(body)} bytes are more than {MAX_BYTES} allowed between node and box")
    return HEADER.pack(len(body)) + body


class Decoder:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes. Raises ``ValueError`` when the peer does not speak this."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEADER.size:
            (size,) = HEADER.unpack_from(buffer, start)
            if size > MAX_BYTES:
                raise FrameTooLarge(f"a frame of {size} bytes was announced, {MAX_BYTES} are allowed")
            end = start + HEADER.size + size
            if len(buffer) < end:
                break
            yield pydantic_core.from_json(bytes(memoryview(buffer)[start + HEADER.size : end]))
            start = end
        if start:
            del buffer[:start]


class Wire:
    """The worker's end of its socket: one thread reads, any thread writes whole frames."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        """Blocks while the node does not read. Raises ``ValueError`` (nothing was sent), ``OSError`` (it is gone)."""
        data = encode(frame)
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> Iterator[Frame]:
        """Frames until the node closes its end."""
        decoder = Decoder()
        while data := self._socket.recv(65536):
            yield from decoder.feed(data)
