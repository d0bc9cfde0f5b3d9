"""A hub with one tenant on real servers, as its tests look at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from box_agent.agent import Agent
from box_agent.config import AgentSettings
from hub.app import Hub
from hub.config import HubSettings
from hub.services.tasks import TaskService
from hub.tasks.engine import TaskEngine
from hub.tasks.settings import TaskSettings
from hub.tenant import Tenant
from schemas.task import TaskRecord

QUICK = TaskSettings(lease_s=1.5, grace_s=0.1, scan_s=0.1, refused_wait_s=0.05, start_ack_s=1.0, poll_s=0.2)
"""Seconds where the defaults have tens of them."""


@dataclass
class TaskHub:
    tenant: Tenant
    service: TaskService

    @property
    def engine(self) -> TaskEngine:
        return self.tenant.tasks

    async def until(self, task_id: str, reached: Callable[[TaskRecord], bool], timeout_s: float = 15.0) -> TaskRecord:
        """The first version of the task that satisfies ``reached``, as it is stored through this hub."""
        arrived: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()

        def moved(task: TaskRecord) -> None:
            if task.id == task_id and not arrived.done() and reached(task):
                arrived.set_result(task)

        self.engine.observe(moved)
        moved(await self.engine.get(task_id))
        async with asyncio.timeout(timeout_s):
            return await arrived


@asynccontextmanager
async def task_hub(
    url: str, tenant: str, directory: Path, settings: TaskSettings = QUICK, *, silent_s: float = 2.0
) -> AsyncIterator[TaskHub]:
    """Tasks are accepted, and runners heard, inside the block."""
    made = HubSettings(
        nats_url=url, tenants=(tenant,), home=directory, gateway=False, heartbeat_s=0.2, silent_s=silent_s,
        tasks=settings,
    )  # fmt: skip
    async with Hub(made) as hub:
        yield TaskHub(hub.tenant(tenant), hub.services(tenant).tasks)


async def connect(name: str, url: str, tenant: str, **settings: Any) -> Agent:
    """An attached agent that beats often."""
    return await Agent.open(name, url=url, tenant=tenant, settings=agent_settings(**settings))


def agent_settings(**settings: Any) -> AgentSettings:
    return AgentSettings(**({"beat_s": 0.2, "close_timeout_s": 2.0} | settings))
