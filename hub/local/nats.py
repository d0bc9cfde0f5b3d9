"""The private nats-server of one system: which binary, which port, which configuration."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from shutil import which

from hub.local.home import Home, Secrets
from hub.private_file import write_private
from schemas.errors import DriverUnavailable

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
HOST = "127.0.0.1"


def find_nats_server(path: str) -> Path:
    """The binary on ``path`` (as PATH is), or among the system's daemons, which are not on every user's PATH."""
    places = os.pathsep.join((path, "/usr/local/sbin", "/usr/sbin"))
    found = which("nats-server", path=places)
    if found is None:
        raise DriverUnavailable(
            "nats-server is not on PATH; install it (Debian: `apt-get install nats-server`), "
            "or name a running one with --nats URL"
        )
    return Path(found)


def choose_port(preferred: int = 0) -> int:
    """``preferred`` when nobody listens there now, else a free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise DriverUnavailable("no free port on the loopback interface")


def url(secrets: Secrets) -> str:
    return f"nats://{secrets.nats_user}:{secrets.nats_password}@{HOST}:{secrets.nats_port}"


def write_config(home: Home, secrets: Secrets) -> Path:
    """The configuration, readable by its owner only since it holds the password.

    Loopback and one user. The store's limits are ceilings, not reservations. ``write_deadline`` drops a client that
    does not read for so long, rather than keep its messages in memory.
    """
    home.nats.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home.nats / "nats-server.conf"
    quoted = json.dumps
    write_private(
        path,
        f"""\
server_name: "boxhub-local"
listen: "{HOST}:{secrets.nats_port}"
max_payload: {MAX_PAYLOAD_BYTES}
write_deadline: "10s"
jetstream {{
  store_dir: {quoted(str(home.nats / "store"))}
  max_mem: 1GB
  max_file: 1TB
}}
authorization {{
  user: {quoted(secrets.nats_user)}
  password: {quoted(secrets.nats_password)}
}}
""",
    )
    return path
