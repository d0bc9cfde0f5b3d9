"""How others find a running system: connection.json; and, from there, whether it runs, and how to end it."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from hub.local.home import Home
from hub.private_file import write_private
from schemas.errors import DeadlineExceeded

DOWN_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Connection:
    """Everything it takes to talk to a system. Holds secrets: the file is mode 0600."""

    pid: int  # of the supervisor; valid while it lives
    nats_url: str
    gateway_url: str
    token: str
    tenant: str
    version: str
    home: str

    @property
    def dashboard_url(self) -> str:
        return f"{self.gateway_url}/?token={self.token}"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises `ValueError` when the text is no connection record."""
        found = json.loads(text)
        if not isinstance(found, dict) or not cls.__dataclass_fields__.keys() <= found.keys():
            raise ValueError("not a connection record")
        return cls(**{name: found[name] for name in cls.__dataclass_fields__})


def write_connection(home: Home, connection: Connection) -> None:
    write_private(home.connection, connection.to_json())


def read_connection(home: Path) -> Connection | None:
    """The system that is ready in ``home``; ``None`` when there is none, or its file is a dead one's."""
    place = Home(home)
    try:
        connection = Connection.from_json(place.connection.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return connection if place.holder() == connection.pid else None


@dataclass(frozen=True)
class Status:
    """What is known of the system in a home. ``processes``: name, pid, state, starts, deaths of each child."""

    home: str
    running: bool
    ready: bool
    pid: int = 0
    connection: Connection | None = None
    processes: tuple[dict[str, Any], ...] = ()


def status(home: Path) -> Status:
    """Read from files and the lock alone; never blocks on a system that hangs."""
    place = Home(home)
    pid = place.holder()
    if pid is None:
        return Status(str(place.directory), running=False, ready=False)
    connection = read_connection(home)
    try:
        processes = tuple(json.loads(place.status.read_text())["processes"])
    except (FileNotFoundError, ValueError, KeyError):
        processes = ()
    return Status(str(place.directory), True, connection is not None, pid, connection, processes)


def stop(home: Path, *, timeout_s: float = DOWN_TIMEOUT_S) -> bool:
    """End the system in ``home`` in order and return when it has ended; false when none ran.

    One that has not ended after ``timeout_s`` is killed, and the kernel ends its children. Raises
    `DeadlineExceeded` if even that does not help.
    """
    place = Home(home)
    pid = place.holder()
    if not pid:
        return False
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # ended meanwhile; its lock went with it
        if _released(place, pid, patience_s):
            return True
    raise DeadlineExceeded(f"the system in {place.directory} (pid {pid}) cannot be ended", pid=pid)


def _released(home: Home, pid: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while home.holder() == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
