"""A town over a real nats-server, its page, viewers of its feed, and a browser that complains of any error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
import websockets
from nats.aio.client import Client
from playwright.async_api import Browser, ConsoleMessage, Page
from websockets.asyncio.client import ClientConnection

from hub.dashboard import FeedLimits
from hub.dashboard.routes import FEED_PATH, STATIC
from tests.e2e.dashboard.town import Town
from tests.e2e.dashboard.town_server import town_server
from tests.servers.nats import NatsServer
from tests.servers.requirement import missing

Frame = dict[str, Any]
BRISK = FeedLimits(frame_s=0.02, read_s=0.02, sweep_s=0.2)
"""As fast as a test would like; the bounds stay those of production."""


class Serve:
    """Serves towns, each in a task of its own, so that a task group is left where it was entered."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._servers: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    async def __call__(self, town: Town, **options: Any) -> str:
        """Serve a town until the test ends; its URL."""
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ending = asyncio.Event()
        chosen: dict[str, Any] = {"limits": BRISK, "live": False, **options}
        task = self._group.create_task(self._run(town, chosen, url, ending))
        served = await url
        self._servers[served] = (ending, task)
        return served

    async def stop(self, url: str) -> None:
        """End one server, as a hub that is shut down."""
        ending, task = self._servers.pop(url)
        ending.set()
        await asyncio.wait({task})

    async def aclose(self) -> None:
        for url in list(self._servers):
            await self.stop(url)

    @staticmethod
    async def _run(town: Town, options: dict[str, Any], url: asyncio.Future[str], ending: asyncio.Event) -> None:
        async with town_server(town, **options) as served:
            url.set_result(served)
            await ending.wait()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with asyncio.TaskGroup() as group:
        made = Serve(group)
        yield made
        await made.aclose()


@pytest.fixture
def town(nats_server: NatsServer) -> Town:
    """Twenty boxes and half a minute of history."""
    made = Town(nats_server.url, boxes_wanted=20)
    made.settle(past_s=30)
    return made


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Client]:
    """A plain client of the same bus."""
    client = await nats.connect(nats_server.url)
    yield client
    await client.close()


class Watcher:
    """A viewer of the feed that keeps what it was told, as the page does."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.last: Frame = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.traffic: list[Frame] = []
        self.missed = 0

    async def next(self) -> Frame:
        """The next frame, applied."""
        async with asyncio.timeout(20):
            frame: Frame = json.loads(await self.socket.recv())
        if frame["type"] == "missed":
            self.missed += frame["frames"]
            return frame
        if frame["type"] == "snapshot":
            keys = {"boxes": "key", "nodes": "name"}
            self.tables = {
                table: {row[keys.get(table, "id")]: row for row in frame[table]}
                for table in ("boxes", "nodes", "tasks", "branches", "workspaces")
            }
            self.traffic = []
        else:
            assert frame["seq"] == self.last["seq"] + 1, "a hole in the numbers"
            for table, rows in self.tables.items():
                for key, row in frame.get(table, {}).items():
                    if row is None:
                        rows.pop(key, None)
                    else:
                        rows[key] = row
        self.traffic += frame["traffic"]
        self.last = frame
        return frame

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read frames until ``condition`` holds; the frames are the signal that is waited on."""
        async with asyncio.timeout(20):
            while not condition():
                await self.next()


@asynccontextmanager
async def watch(url: str, **options: Any) -> AsyncIterator[Watcher]:
    """Join the feed and take the first snapshot."""
    async with websockets.connect(url.replace("http", "ws") + FEED_PATH, max_size=None, **options) as socket:
        await socket.send('{"type": "hello"}')
        watcher = Watcher(socket)
        await watcher.next()
        yield watcher


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page of a desktop's size. The test fails on any script error, console error or policy violation."""
    if not (STATIC / "index.html").is_file():
        missing("the built dashboard", "run `make setup`")
    opened = await browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    opened.set_default_timeout(15_000)
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    opened.on("console", heard)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    await opened.close()
    assert [text for text in wrong if "net::ERR_" not in text and "WebSocket connection" not in text] == []
