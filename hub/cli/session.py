"""How a command finds the hub it speaks to."""

from __future__ import annotations

from hub.cli.client import HubClient
from hub.config import HubSettings
from hub.local.connection import Connection, read_connection
from schemas.errors import Unavailable


def connected(*, timeout_s: float = 60.0) -> HubClient:
    """The hub of ``BOXHUB_HOME``. Raises `Unavailable` with the cure when none runs there."""
    connection = _connection()
    return HubClient(connection.gateway_url, connection.token, timeout_s=timeout_s)


def bus() -> tuple[str, str]:
    """URL and tenant of the same hub's bus, for commands that bring files along. Raises `Unavailable`."""
    connection = _connection()
    return connection.nats_url, connection.tenant


def _connection() -> Connection:
    home = HubSettings().home
    connection = read_connection(home)
    if connection is None:
        raise Unavailable(f"no hub runs in {home}; start one with 'boxhub up', or set BOXHUB_HOME")
    return connection
