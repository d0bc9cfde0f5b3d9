"""``/metrics``: the state of the system as Prometheus reads it, computed when asked."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from hub.gateway.routes.access import HubOf

if TYPE_CHECKING:
    from hub.app import Hub

router = APIRouter(tags=["system"])


async def collect(hub: Hub) -> CollectorRegistry:
    """A registry of its own for each scrape: no state to go stale, and nothing leaks between hubs in a process."""
    registry = CollectorRegistry()
    boxes = Gauge("boxhub_boxes", "Boxes by kind and state", ["tenant", "kind", "state"], registry=registry)
    nodes = Gauge("boxhub_nodes", "Nodes by state", ["tenant", "state"], registry=registry)
    tasks = Gauge("boxhub_tasks", "Tasks by state", ["tenant", "state"], registry=registry)
    up = Gauge("boxhub_uptime_seconds", "Seconds since the hub started", registry=registry)
    up.set(time.time() - hub.started_at)
    for tenant in hub.tenants():
        services = hub.services(tenant)
        for (kind, state), n in Counter((b.kind, b.state) for b in await services.registry.boxes()).items():
            boxes.labels(tenant, kind, state).set(n)
        for node_state, n in Counter(node.state for node in await services.registry.nodes()).items():
            nodes.labels(tenant, node_state).set(n)
        for task_state, n in (await services.tasks.task_counts()).items():
            tasks.labels(tenant, task_state).set(n)
    return registry


@router.get("/metrics")
async def metrics(hub: HubOf) -> Response:
    return Response(generate_latest(await collect(hub)), media_type=CONTENT_TYPE_LATEST)
