"""What a system leaves on the machine: processes and sockets, found by its home."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from hub.local.connection import Connection


def processes_of(home: Path) -> dict[int, str]:
    """Pid → command line of every process that was started for, or works in, ``home``; zombies left out."""
    wanted = str(home).encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
            directory = str((entry / "cwd").readlink()).encode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if not command:
            continue
        if wanted in command or b"BOXHUB_HOME=" + wanted in environment or directory.startswith(wanted):
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def listening(connection: Connection, *, timeout_s: float = 2.0) -> list[str]:
    """Those of its ports where after ``timeout_s`` still somebody accepts: a dying process closes its sockets last."""
    deadline = time.monotonic() + timeout_s
    while (found := _listening(connection)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _listening(connection: Connection) -> list[str]:
    open_ports = []
    for url in (connection.nats_url, connection.gateway_url):
        parts = urlsplit(url)
        with socket.socket() as probe:
            if probe.connect_ex((parts.hostname, parts.port)) == 0:
                open_ports.append(f"{parts.hostname}:{parts.port}")
    return open_ports


def until_gone(home: Path, *, timeout_s: float) -> dict[int, str]:
    """Wait until no process of ``home`` is left; what is left after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
