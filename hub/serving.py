"""The gateway's HTTP server in the hub's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

from hub.background import background
from hub.config import DEFAULT_GATEWAY_PORT, HubSettings
from schemas.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

PORTS_TRIED: Final = 100
_BACKLOG: Final = 1024
_START_S: Final = 10.0
_GRACEFUL_S: Final = 2


def bind_gateway(settings: HubSettings) -> socket.socket:
    """A listening socket: at the port the settings name, or at 8700 or the next free one.

    Raises `InvalidInput` when the named port is taken or the host is not ours.
    """
    explicit = settings.gateway_port
    ports = range(DEFAULT_GATEWAY_PORT, DEFAULT_GATEWAY_PORT + PORTS_TRIED) if explicit is None else [explicit]
    family = socket.AF_INET6 if ":" in settings.gateway_host else socket.AF_INET
    error = OSError("no port")
    for port in ports:
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((settings.gateway_host, port))
            bound.listen(_BACKLOG)
        except OSError as failed:
            bound.close()
            error = failed
            continue
        bound.setblocking(False)
        return bound
    where = f"{settings.gateway_host} port {explicit if explicit is not None else f'{ports[0]} to {ports[-1]}'}"
    raise InvalidInput(f"the gateway cannot listen on {where}: {error.strerror}; choose another BOXHUB_GATEWAY_PORT")


@contextlib.asynccontextmanager
async def serve_http(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve ``app`` while the block runs; at its end open requests have two seconds, then their connections close."""
    started = asyncio.Event()
    server = _server(app, started)
    async with background() as group:
        serving = group.create_task(server.serve(sockets=[listener]), name="gateway")
        try:
            async with asyncio.timeout(_START_S):
                await started.wait()
        except TimeoutError:
            raise Unavailable("the gateway did not start") from None
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.wait({serving}, timeout=2 * _GRACEFUL_S)


def _server(app: ASGIApp, started: asyncio.Event) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Signals are the hub's."""
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=_GRACEFUL_S,
            server_header=False,
        )
    )
