"""One tenant in one hub: its agent ``_hub`` on the bus, registry, tasks, and the services over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from box_agent.agent import Agent
from box_agent.bus.connection import Connection
from box_agent.config import AgentSettings
from context_store.store import Scope
from hub.background import background
from hub.bus_adapter import service_skills
from hub.config import HubSettings
from hub.leader import Leases
from hub.lifecycle.losers import Losers
from hub.lifecycle.strays import Strays
from hub.registry import Registry
from hub.registry.orphans import Orphans
from hub.services import Principal, Services
from hub.services.blobs import BlobService
from hub.services.conversations import ConversationService
from hub.services.keyvalues import KeyValueService
from hub.services.registry import RegistryService
from hub.services.tasks import TaskService
from hub.services.warmth import WarmthService
from hub.services.workspaces import WorkspaceService
from hub.tasks.engine import TaskEngine
from hub.upkeep import Upkeep
from schemas.errors import InvalidInput
from schemas.subjects import HUB

_log = structlog.get_logger(__name__)

CALLS: Final = 4096
"""Calls at once: readers of updates and watches hold theirs for minutes."""
_OLDEST_IN_CLUSTER: Final = (2, 10, 0)


@dataclass(frozen=True)
class Tenant:
    """Everything of one tenant that lives as long as the hub."""

    name: str
    scope: Scope
    agent: Agent
    registry: Registry
    tasks: TaskEngine
    losers: Losers
    settings: HubSettings

    def services(self, principal: Principal) -> Services:
        limits = self.settings.limits
        return Services(
            tasks=TaskService(self.tasks, principal, limits),
            registry=RegistryService(self.registry, principal, limits),
            warmth=WarmthService(self.registry, principal),
            workspaces=WorkspaceService(self.scope, self.losers, principal, limits),
            conversations=ConversationService(self.scope, principal, limits),
            keyvalues=KeyValueService(self.scope, principal, limits),
            blobs=BlobService(self.scope, principal, limits),
        )


@asynccontextmanager
async def open_tenant(name: str, scope: Scope, settings: HubSettings) -> AsyncIterator[Tenant]:
    """Join the bus as ``_hub`` and answer there when everything is ready; leave in the reverse order.

    Raises `BusUnavailable`, `Unauthenticated`, and whatever the store raises.
    """
    agent_settings = AgentSettings(
        nats_url=settings.nats_url,
        tenant=name,
        home=settings.home,
        connect_timeout_s=settings.connect_timeout_s,
        beat_s=settings.heartbeat_s,
        concurrency=CALLS,
    )
    connection = await Connection.open(settings.nats_url, HUB, agent_settings)
    agent = Agent(HUB, name, connection, kind="system", description="the hub")
    try:
        _check_server(connection)
        for kind in ("inbox", "event", "report", "dead"):
            await agent.streams.ensure(kind)
        async with (
            Registry(scope, agent, settings) as registry,
            TaskEngine(scope, agent, registry, settings.tasks) as tasks,
            background() as group,
        ):
            leases = Leases(connection, settings.hub_id, ttl_s=settings.leader_ttl_s)
            losers = Losers(scope, registry, tasks)
            tenant = Tenant(name, scope, agent, registry, tasks, losers, settings)
            unsubscribe = registry.subscribe(lambda change: tasks.wake())
            led = [
                group.create_task(leases.lead(f"{name}-orphans", Orphans(registry).run), name=f"orphans {name}"),
                group.create_task(leases.lead(f"{name}-strays", Strays(registry, agent).run), name=f"strays {name}"),
                group.create_task(leases.lead(f"{name}-losers", losers.run), name=f"losers {name}"),
                group.create_task(leases.lead(f"{name}-upkeep", Upkeep(scope).run), name=f"upkeep {name}"),
            ]
            try:
                for skill in service_skills(tenant.services):
                    agent.add_skill(skill)
                await agent.begin(beats=True, runs_tasks=False)
                yield tenant
            finally:
                unsubscribe()
                await agent.serving.aclose()
                for task in led:
                    task.cancel()
    finally:
        await agent.aclose()


def _check_server(connection: Connection) -> None:
    """A cluster of servers older than 2.10 lets several callers win a compare-and-set: no lease would be safe."""
    if connection.clustered and connection.server_version < _OLDEST_IN_CLUSTER:
        version = ".".join(map(str, connection.server_version))
        raise InvalidInput(
            f"a cluster of nats-server {version} is not safe for leases; use 2.10 or newer, or one server"
        )
