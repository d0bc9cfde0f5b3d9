"""One ASGI application over the hub's services: REST, A2A, dashboard, probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.types import ASGIApp

from hub.gateway import metrics, problems
from hub.gateway.auth import Gatekeeper
from hub.gateway.lazy import LazyMount
from hub.gateway.routes import boxes, conversations, deadletters, events, keyvalues, system, tasks, workspaces

if TYPE_CHECKING:
    from hub.app import Hub

API = "/api/v1"


def create_app(hub: Hub, *, host: str, port: int, token: str) -> FastAPI:
    """The application for one hub. It holds nothing of its own: every answer comes from ``hub.services()``.

    A2A's SDK is heavy to import (protobuf, 0.4 s), so its mount is made on the first A2A request.
    """
    app = FastAPI(
        title="boxhub",
        version=hub.version,
        docs_url=f"{API}/docs",
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
        max_body_size=hub.settings.max_body_bytes,
    )
    app.state.hub = hub
    problems.install(app)
    for module in (boxes, tasks, events, workspaces, conversations, keyvalues, deadletters, system):
        app.include_router(module.router, prefix=API)
    app.include_router(system.probes)
    app.include_router(metrics.router)

    def agents() -> ASGIApp:
        from hub.gateway.a2a.mount import AgentMount

        return AgentMount(hub.services(hub.settings.tenant), f"http://{_netloc(host, port)}")

    app.mount("/a2a", LazyMount(agents))

    from hub.dashboard import mount_dashboard

    mount_dashboard(app, hub)
    app.add_middleware(Gatekeeper, token=token, hosts=frozenset({"127.0.0.1", "localhost", "::1", host}), port=port)
    return app


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
