"""All of it as one ``async with``: a private nats-server, a hub and a node that come, heal and go together."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from hub.background import background
from hub.local import nats
from hub.local.child import Child, Line
from hub.local.config import inherited_environment
from hub.local.connection import Connection, write_connection
from hub.local.home import Home, Secrets
from hub.local.logs import LogFile
from hub.private_file import write_private
from hub.version import version
from schemas.errors import Cancelled, Unavailable
from schemas.subjects import DEFAULT_TENANT

READY_TIMEOUT_S: Final = 30.0
DEATHS_BEFORE_GIVING_UP: Final = 3
STOP_S: Final = 8.0
LOG_CHECK_S: Final = 10.0
NODE_BEAT_S: Final = "0.5"
"""On one machine a beat costs nothing, and a hub that starts waits for one before it can place a box."""


class LocalSystem:
    """``async with LocalSystem(home) as system`` returns when the hub serves and its node is registered.

    While it runs, each child that dies is started again; nats-server keeps its port and its store, so everybody
    reconnects and nothing acknowledged is lost. Leaving the block ends node, hub and nats-server in this order,
    within seconds. If this process is killed the kernel ends the children, and the next start cleans up.

    Raises `AlreadyExists` when a system runs in ``home``, `DriverUnavailable` without nats-server, `Unavailable` with
    the end of the log when a part does not start, `Cancelled` after `request_stop` during the start.
    """

    def __init__(
        self,
        home: Path,
        *,
        gateway_port: int | None = None,
        nats_url: str = "",
        environment: Mapping[str, str] | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        self.home = Home(home)
        self.children: dict[str, Child] = {}
        self.stop_requested = asyncio.Event()
        self.ready_after_s = 0.0
        self._gateway_port = gateway_port
        self._given_nats_url = nats_url
        self._environment = inherited_environment() if environment is None else dict(environment)
        self._ready_timeout_s = ready_timeout_s
        self._connection: Connection | None = None
        self._moved = asyncio.Event()  # something happened to a child
        self._gateway_url: str | None = None
        self._node_seen = False
        self._context: AbstractAsyncContextManager[None] | None = None

    @property
    def connection(self) -> Connection:
        """What others need to talk to it; there from the moment it is ready."""
        assert self._connection is not None, "not entered"
        return self._connection

    def request_stop(self) -> None:
        """Ask whoever waits on `stop_requested` to leave; a start under way is given up."""
        self.stop_requested.set()
        self._moved.set()

    def kill(self) -> None:
        """SIGKILL to all children, for the impatient; leaving the block is then immediate."""
        for child in self.children.values():
            child.kill()

    async def __aenter__(self) -> Self:
        self._context = self._running()
        await self._context.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        assert self._context is not None, "not entered"
        await self._context.__aexit__(*exc_info)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        begun = time.monotonic()
        with self.home.held():
            self._remove_traces()
            self._make_children()
            async with background() as group:
                for child in self.children.values():
                    group.create_task(child.run(), name=f"child-{child.name}")
                bounding = group.create_task(self._bound_logs(), name="bound-logs")
                try:
                    await self._until_ready()
                    self.ready_after_s = time.monotonic() - begun
                    write_connection(self.home, self.connection)
                    yield
                finally:
                    self.home.connection.unlink(missing_ok=True)  # nobody new from here on
                    bounding.cancel()
                    await self._stop_children()
            self._remove_traces()

    # --- start ----------------------------------------------------------------------------------------------------

    def _make_children(self) -> None:
        home = self.home
        secrets = Secrets.load_or_make(home.secrets, free_port=nats.choose_port())
        url = self._given_nats_url
        if not url:
            server = nats.find_nats_server(self._environment.get("PATH", ""))
            secrets = replace(secrets, nats_port=nats.choose_port(secrets.nats_port))
            secrets.save(home.secrets)
            url = nats.url(secrets)
            self._add("nats-server", [server, "--config", nats.write_config(home, secrets)])
        shared = {"BOXHUB_HOME": str(home.directory), "BOXHUB_NATS_URL": url}
        token = self._environment.get("BOXHUB_TOKEN") or secrets.token
        hub = shared | {"BOXHUB_TOKEN": token, "BOXHUB_HUB_ID": "hub-local"}
        if self._gateway_port is not None:
            hub["BOXHUB_GATEWAY_PORT"] = str(self._gateway_port)
        self._add("hub", [sys.executable, "-m", "hub.app"], hub, on_line=self._hub_said)
        tenant = self._environment.get("BOXHUB_TENANTS", DEFAULT_TENANT).split(",")[0].strip()
        beat = {"BOXHUB_NODE_BEAT_S": self._environment.get("BOXHUB_NODE_BEAT_S", NODE_BEAT_S)}
        self._add("node", [sys.executable, "-m", "box_agent.node"], shared | {"BOXHUB_TENANT": tenant} | beat)
        self._connection = Connection(os.getpid(), url, "", token, tenant, version(), str(self.home.directory))

    def _add(self, name: str, command: list[str | Path], env: Mapping[str, str] | None = None, **rest: Any) -> None:
        self.children[name] = Child(
            name,
            command,
            env=self._environment | {"PYTHONUNBUFFERED": "1"} | dict(env or {}),
            directory=self.home.directory,
            log=LogFile(self.home.logs / f"{name}.log"),
            changed=self._child_changed,
            **rest,
        )

    def _hub_said(self, line: Line) -> None:
        if line.get("event") == "ready":
            self._gateway_url = str(line["gateway_url"])
            if port := line.get("gateway_port"):
                # A restarted hub is to be found where it was.
                self.children["hub"].env["BOXHUB_GATEWAY_PORT"] = str(port)
        elif line.get("event") == "node":
            self._node_seen = True
        self._moved.set()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self._ready_timeout_s):
                while self._gateway_url is None or not self._node_seen:
                    self._moved.clear()
                    self._check_start()
                    await self._moved.wait()
        except TimeoutError:
            late = "hub" if self._gateway_url is None else "node"
            raise self._failure(late, f"was not ready after {self._ready_timeout_s:g} s") from None
        self._connection = replace(self.connection, gateway_url=self._gateway_url)

    def _check_start(self) -> None:
        if self.stop_requested.is_set():
            raise Cancelled("asked to stop while starting")
        for child in self.children.values():
            if len(child.deaths) >= DEATHS_BEFORE_GIVING_UP:
                raise self._failure(child.name, f"does not start: it {child.deaths[-1]}")

    def _failure(self, name: str, what: str) -> Unavailable:
        log = self.children[name].log
        return Unavailable(f"{name} {what}; the end of {log.path}:\n{log.tail()}", process=name)

    # --- run and stop -----------------------------------------------------------------------------------------------

    def _child_changed(self, child: Child) -> None:
        self._moved.set()
        rows = [
            {"name": c.name, "pid": c.pid, "state": c.state, "starts": c.starts, "deaths": c.deaths}
            for c in self.children.values()
        ]
        write_private(self.home.status, json.dumps({"pid": os.getpid(), "processes": rows}))

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for child in self.children.values():
                child.log.bound()

    async def _stop_children(self) -> None:
        """Boxes first, then who directs them, then what carries their last words."""
        for name in ("node", "hub", "nats-server"):
            if name in self.children:
                await self.children[name].stop(STOP_S)

    def _remove_traces(self) -> None:
        """What tells others about a running system, also when it was left by one that was killed."""
        for path in (self.home.connection, self.home.status):
            path.unlink(missing_ok=True)
            for half in path.parent.glob(f".{path.name}.*"):
                half.unlink(missing_ok=True)
