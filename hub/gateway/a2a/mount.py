"""Finds the agent an A2A request is for. Boxes come and go, so nothing is registered: each request looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2a.server.routes import create_jsonrpc_routes, create_rest_routes
from a2a.types.a2a_pb2 import AgentCard
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.gateway.a2a.card import card_of
from hub.gateway.a2a.handler import TaskHandler
from hub.gateway.problems import problem
from schemas.errors import BoxhubError
from schemas.ids import check_name

if TYPE_CHECKING:
    from hub.services import Services

_KEPT = 256


class AgentMount:
    """ASGI: ``/<address>/…`` is that box's A2A endpoint, ``/`` lists all of them.

    An endpoint is only routes over a stateless handler; the newest few are kept to save building them.
    """

    def __init__(self, services: Services, base_url: str) -> None:
        self._services = services
        self._base_url = base_url
        self._endpoints: dict[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "")
        address, _, _ = scope["path"][len(root) :].lstrip("/").partition("/")
        request = Request(scope, receive)
        try:
            if not address:
                await (await self._list(request))(scope, receive, send)
                return
            await self._services.registry.box_get(check_name(address, "box"))
        except BoxhubError as error:
            await problem(error)(scope, receive, send)
            return
        await self._endpoint(address)({**scope, "root_path": f"{root}/{address}"}, receive, send)

    async def _list(self, request: Request) -> JSONResponse:
        boxes = await self._services.registry.boxes()
        cards = [card_of(b, self._base_url) for b in boxes if b.kind != "system" and b.state in ("ready", "starting")]
        return JSONResponse({"agents": [MessageToDict(c) for c in cards]})

    def _endpoint(self, address: str) -> ASGIApp:
        if (kept := self._endpoints.get(address)) is not None:
            return kept

        async def card() -> AgentCard:
            return card_of(await self._services.registry.box_get(address), self._base_url)

        async def serve_card(request: Request) -> JSONResponse:
            try:
                made = await card()
            except BoxhubError as error:
                return problem(error)
            headers = {"Cache-Control": "max-age=10", "ETag": f'"{made.version}"'}
            return JSONResponse(MessageToDict(made), headers=headers)

        handler = TaskHandler(address, self._services.tasks, self._services.registry.box_get, card)
        app = Starlette(
            routes=[
                Route("/.well-known/agent-card.json", serve_card),
                *create_jsonrpc_routes(handler, "/"),
                *create_rest_routes(handler, path_prefix="/v1"),  # ends in a catch-all, so it comes last
            ]
        )
        if len(self._endpoints) >= _KEPT:
            self._endpoints.pop(next(iter(self._endpoints)))
        self._endpoints[address] = app
        return app
