"""The part of a hub that tasks need, on real servers: store, registry, engine, and its skills on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from box_agent.agent import Agent
from box_agent.config import AgentSettings
from context_store import ContextStore
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from hub.config import HubSettings, Limits
from hub.registry import Registry
from hub.services.principal import SYSTEM
from hub.services.tasks import TaskService
from hub.tasks.engine import TaskEngine
from hub.tasks.settings import TaskSettings
from schemas.task import TaskRecord

QUICK = TaskSettings(lease_s=1.5, grace_s=0.1, scan_s=0.1, refused_wait_s=0.05, start_ack_s=1.0, poll_s=0.2)
"""Seconds where the defaults have tens of them."""


@dataclass
class TaskHub:
    agent: Agent
    registry: Registry
    engine: TaskEngine
    service: TaskService

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
    async with ContextStore(SqliteBackend(directory / "store.sqlite"), DirectoryBlobs(directory / "blobs")) as store:
        scope = store.tenant(tenant)
        agent = await Agent.open(
            "_hub", url=url, tenant=tenant, settings=agent_settings(concurrency=4096), kind="system",
            beats=False, runs_tasks=False,
        )  # fmt: skip
        hub_settings = HubSettings(home=directory, silent_s=silent_s, heartbeat_s=0.2)
        async with agent, Registry(scope, agent, hub_settings) as registry:
            async with TaskEngine(scope, agent, registry, settings) as engine:
                unsubscribe = registry.subscribe(lambda change: engine.wake())
                service = TaskService(engine, SYSTEM, Limits())
                for skill in (
                    service.task_submit, service.task_get, service.task_wait, service.task_list, service.task_cancel,
                    service.task_updates, service.task_explain, service._task_renew,
                ):  # fmt: skip
                    agent.serve_own(skill)
                try:
                    yield TaskHub(agent, registry, engine, service)
                finally:
                    unsubscribe()


async def connect(name: str, url: str, tenant: str, **settings: Any) -> Agent:
    """An attached agent that beats often."""
    return await Agent.open(name, url=url, tenant=tenant, settings=agent_settings(**settings))


def agent_settings(**settings: Any) -> AgentSettings:
    return AgentSettings(**({"beat_s": 0.2, "close_timeout_s": 2.0} | settings))
