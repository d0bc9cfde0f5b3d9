"""The composition root of a hub: ``async with Hub(settings) as hub``; ``python -m hub.app`` runs one.

Any number of hubs may serve the same bus and store: calls are shared among them, loops that must run once are led
through leases. A hub keeps no truth in memory and may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import structlog
from pydantic import ValidationError

from box_agent.agent import Agent
from context_store.store import ContextStore
from hub.config import HubSettings
from hub.logging import configure_logging
from hub.private_file import write_private
from hub.registry.presence import Change
from hub.services import OPERATOR, Principal, Services
from hub.stores import make_store
from hub.tenant import Tenant, open_tenant
from hub.version import version
from schemas.errors import BoxhubError, NotFound, StoreUnavailable

_log = structlog.get_logger(__name__)

_PING_S: Final = 2.0


class Hub:
    """Everything of one hub. Entered, it is ready: the store answers, ``_hub`` serves, the gateway listens.

    Raises `StoreUnavailable`, `BusUnavailable`, `Unauthenticated`, or `InvalidInput` for settings that cannot be met.
    Leaving it ends everything in the reverse order; ended at any other moment, it loses nothing accepted.
    """

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        self.version = version()
        self.started_at = time.time()
        self.gateway_url = ""
        self._store: ContextStore
        self._tenants: dict[str, Tenant] = {}
        self._exits = AsyncExitStack()

    # --- what it offers ----------------------------------------------------------------------------------------------

    @property
    def agent(self) -> Agent:
        """``_hub`` on the bus of the default tenant."""
        return self.tenant(self.settings.tenant).agent

    def tenants(self) -> Sequence[str]:
        return tuple(self._tenants)

    def tenant(self, name: str) -> Tenant:
        """Raises `NotFound` for a tenant this hub does not serve."""
        try:
            return self._tenants[name]
        except KeyError:
            raise NotFound(f"no tenant {name!r}; this hub serves {', '.join(self._tenants)}", tenant=name) from None

    def services(self, tenant: str, principal: Principal = OPERATOR) -> Services:
        """The services of one tenant for one asker. Cheap. Raises `NotFound`."""
        return self.tenant(tenant).services(principal)

    async def readiness(self) -> dict[str, str]:
        """What it needs, each with what is wrong with it (empty: nothing)."""
        checks = {f"bus {t.name}": "" if t.agent.connection.connected else "no connection" for t in self._all()}
        try:
            async with asyncio.timeout(_PING_S):
                await self._store.ping()
            checks["store"] = ""
        except (StoreUnavailable, TimeoutError) as error:
            checks["store"] = str(error) or f"no answer within {_PING_S:g} s"
        return checks

    # --- lifetime ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            self._prepare_home()
            self._store = await exits.enter_async_context(make_store(self.settings))
            await self._store_answers()
            for name in self.settings.tenants:
                scope = self._store.tenant(name)
                self._tenants[name] = await exits.enter_async_context(open_tenant(name, scope, self.settings))
            if self.settings.gateway:
                await self._open_gateway(exits)
            self._exits = exits.pop_all()
        _log.info("hub.ready", hub=self.settings.hub_id, tenants=self.tenants(), gateway=self.gateway_url)
        return self

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        _log.info("hub.stopping", hub=self.settings.hub_id)
        return await self._exits.__aexit__(*exc_info)

    def _prepare_home(self) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def _store_answers(self) -> None:
        try:
            async with asyncio.timeout(self.settings.connect_timeout_s):
                await self._store.ping()
        except TimeoutError as error:
            raise StoreUnavailable(f"the store does not answer within {self.settings.connect_timeout_s:g} s") from error

    async def _open_gateway(self, exits: AsyncExitStack) -> None:
        from hub.gateway.app import create_app  # FastAPI and what hangs on it: only where it is served
        from hub.serving import bind_gateway, serve_http

        listener = bind_gateway(self.settings)
        exits.callback(listener.close)
        host, port = listener.getsockname()[:2]
        app = create_app(self, host=host, port=port, token=gateway_token(self.settings))
        await exits.enter_async_context(serve_http(app, listener))
        self.gateway_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _all(self) -> list[Tenant]:
        return list(self._tenants.values())


def gateway_token(settings: HubSettings) -> str:
    """The bearer token of the settings, or the one kept in ``home/token``, made when there is none yet."""
    given = settings.token.get_secret_value()
    if given:
        return given
    path = settings.home / "token"
    try:
        kept = path.read_text().strip()
    except FileNotFoundError:
        kept = ""
    if not kept:
        kept = secrets.token_urlsafe(24)
        write_private(path, kept)
    return kept


class ReadyPipe:
    """Tells the supervisor, as JSON lines: ready, and the first node that is there."""

    def __init__(self, hub: Hub, descriptor: int) -> None:
        self._hub = hub
        self._descriptor = descriptor
        self._node_said = False

    def start(self) -> None:
        port = int(self._hub.gateway_url.rpartition(":")[2]) if self._hub.gateway_url else 0
        self._say({"event": "ready", "gateway_url": self._hub.gateway_url, "gateway_port": port})
        registry = self._hub.tenant(self._hub.settings.tenant).registry
        registry.subscribe(self._changed)
        for node in registry.find_nodes():
            self._changed(Change("node", node=node))

    def _changed(self, change: Change) -> None:
        if change.kind == "node" and change.node is not None and not self._node_said:
            self._node_said = True
            self._say({"event": "node", "name": change.node.name})

    def _say(self, line: dict[str, Any]) -> None:
        try:
            os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            _log.warning("hub.supervisor_gone")


async def run(settings: HubSettings) -> None:
    """A hub until SIGTERM or SIGINT; a second signal cuts the orderly end short."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    signalled: list[int] = []

    def arrived(number: int) -> None:
        signalled.append(number)
        this.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, arrived, number)
    try:
        async with Hub(settings) as hub:
            if settings.ready_fd is not None:
                ReadyPipe(hub, settings.ready_fd).start()
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not signalled:
            raise
    _log.info("hub.stopped", hub=settings.hub_id)


def main() -> int:
    try:
        settings = HubSettings()
    except ValidationError as error:
        for wrong in error.errors():
            print(f"BOXHUB_{'__'.join(map(str, wrong['loc'])).upper()}: {wrong['msg']}", file=sys.stderr)
        return 2
    os.umask(0o077)  # what the hub stores is its owner's alone
    configure_logging(settings.log_format, settings.log_level)
    try:
        asyncio.run(run(settings))
    except BoxhubError as error:
        _log.error("hub.failed", code=error.code, error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
