"""The node's end of a keeper's control socket: output of the box, and how it ended."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Final

_MESSAGE_BYTES: Final = 128 * 1024


class KeeperControl:
    """``on_exit`` is called once: with the keeper's last word, or ``None`` when it ended without one."""

    def __init__(
        self,
        control: socket.socket,
        on_output: Callable[[str, int], None],
        on_exit: Callable[[dict[str, Any] | None], None],
    ) -> None:
        control.setblocking(False)
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
            data = self._control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(None)
            return
        message = json.loads(data)
        if message["op"] == "output":
            self._on_output(message["text"], message["dropped"])
        else:
            self._end(message)

    def _end(self, last: dict[str, Any] | None) -> None:
        self.close()
        self._on_exit(last)

    def close(self) -> None:
        """Hang up; a keeper that still lives ends its box then. Harmless twice."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
