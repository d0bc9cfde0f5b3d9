"""The page on the gateway's application: shell, hashed assets, and the one WebSocket.

The gateway's middleware has let the request in (cookie or bearer) before anything here runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from hub.dashboard.feed import Feed
from hub.dashboard.limits import FeedLimits
from hub.dashboard.observed import Hub
from hub.dashboard.viewers import Viewer
from schemas.errors import Overloaded

STATIC: Final = Path(__file__).parent / "static"
FEED_PATH: Final = "/api/v1/feed"

_SECURITY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_NOT_BUILT: Final = (
    "<!doctype html><meta charset=utf-8><title>boxhub</title>"
    "<h1>Dashboard not built</h1><p>Run <code>make setup</code> in the clone, then reload this page. "
    "The hub itself is running; its API is described at <a href=/api/v1/docs>/api/v1/docs</a>.</p>"
)
POLICY: Final = 1008  # WebSocket close codes of RFC 6455
TRY_LATER: Final = 1013


def mount_dashboard(app: FastAPI, hub: Hub, *, static: Path = STATIC, limits: FeedLimits | None = None) -> None:
    """Serve the page at ``/`` and its feed; the feed lives as long as the application does.

    Mount it last: the page's files are looked for at every path that nothing else has taken.
    """
    feed = Feed(hub, limits=limits)
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        async with outer(application) as state, feed:
            yield state

    app.router.lifespan_context = lifespan

    async def socket(websocket: WebSocket) -> None:
        await _serve_feed(websocket, feed)

    app.add_api_websocket_route(FEED_PATH, socket)
    app.mount("/", Page(static), name="dashboard")


class Page(StaticFiles):
    """The built page: hashed assets may be kept for ever, everything else is asked for again each time."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, html=True, check_dir=False)
        self._shell = directory / "index.html"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._shell.is_file():
            await super().__call__(scope, receive, send)
        else:
            headers = {**_SECURITY, "Cache-Control": "no-store"}
            await HTMLResponse(_NOT_BUILT, 503, headers)(scope, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        hashed = path.startswith("assets/") and response.status_code == 200
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        response.headers.update(_SECURITY)
        return response


async def _serve_feed(websocket: WebSocket, feed: Feed) -> None:
    """One viewer until it goes, falls silent in the middle of a send, or talks nonsense."""
    if not _same_origin(websocket):
        await websocket.close(POLICY, "this page is not ours")
        return
    await websocket.accept()
    try:
        async with asyncio.timeout(feed.limits.hello_timeout_s):
            if await _receive(websocket, feed.limits) != "hello":
                await websocket.close(POLICY, 'the first frame must be {"type": "hello"}')
                return
        async with feed.viewer() as viewer:
            await _converse(websocket, viewer, feed)
    except Overloaded as error:
        await websocket.close(TRY_LATER, error.message)
    except TimeoutError:  # it does not read, or said nothing: let go of what waits for it
        await websocket.close(POLICY, "too slow")
    except WebSocketDisconnect:
        pass  # how every viewer ends
    except ValueError as error:
        await websocket.close(POLICY, str(error)[:120])


async def _converse(websocket: WebSocket, viewer: Viewer, feed: Feed) -> None:
    """Sends frames and hears requests, until one side ends; the first failure is raised."""

    async def send() -> None:
        while True:
            text = await viewer.next()
            async with asyncio.timeout(feed.limits.send_timeout_s):
                await websocket.send_text(text)

    async def hear() -> None:
        while True:
            match await _receive(websocket, feed.limits):
                case "resync":
                    viewer.resync()
                case "refresh":
                    feed.refresh()

    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(send())
            both.create_task(hear())
    except* Exception as failures:  # noqa: BLE001 - handed on: the group is taken off, nothing is kept back
        raise failures.exceptions[0] from None


async def _receive(websocket: WebSocket, limits: FeedLimits) -> str:
    """The type of the next frame. Raises `ValueError` for one that is too long or not ours."""
    text = await websocket.receive_text()
    if len(text) > limits.incoming_bytes:
        raise ValueError("frame too long")
    try:
        frame = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"a frame is JSON: {error}") from error
    kind = frame.get("type") if isinstance(frame, dict) else None
    if not isinstance(kind, str):
        raise ValueError("a frame is an object with a type")
    return kind


def _same_origin(websocket: WebSocket) -> bool:
    """Browsers always say where a page came from; programs say nothing and have no cookie to be abused."""
    origin = websocket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == websocket.headers.get("host")
