"""The processes of the task benchmark, each its own: ``python -m benchmarks.task_roles hub|worker|raw-worker URL DIR``.

A role prints ``ready`` and runs until its standard input closes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import nats
from nats.js.api import ConsumerConfig

TENANT = "bench"


async def hub(url: str, directory: Path) -> None:
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

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            ContextStore(SqliteBackend(directory / "store.sqlite"), DirectoryBlobs(directory / "blobs"))
        )
        scope = store.tenant(TENANT)
        settings = AgentSettings(concurrency=4096)
        agent = await stack.enter_async_context(
            await Agent.open(
                "_hub", url=url, tenant=TENANT, settings=settings, kind="system", beats=False, runs_tasks=False
            )
        )
        registry = await stack.enter_async_context(Registry(scope, agent, HubSettings(home=directory)))
        engine = await stack.enter_async_context(TaskEngine(scope, agent, registry))
        registry.subscribe(lambda change: engine.wake())
        service = TaskService(engine, SYSTEM, Limits())
        for skill in (
            service.task_submit, service.task_get, service.task_wait, service.task_updates, service._task_renew,
        ):  # fmt: skip
            agent.serve_own(skill)
        profile = os.environ.get("BENCH_PROFILE")
        if profile:
            import cProfile

            with cProfile.Profile() as profiler:
                await _until_closed()
            profiler.dump_stats(profile)
        else:
            await _until_closed()


async def worker(url: str, directory: Path) -> None:
    from box_agent.agent import Agent
    from box_agent.config import AgentSettings

    settings = AgentSettings(attempts=256)
    async with await Agent.open("worker", url=url, tenant=TENANT, settings=settings) as agent:

        @agent.skill
        async def nothing() -> None:
            """Does nothing."""

        await _until_closed()


async def raw_worker(url: str, directory: Path) -> None:
    """A work queue as one writes it with bare nats-py: take, work, store the result, acknowledge."""
    client = await nats.connect(url)
    stream = client.jetstream()
    tasks = await stream.pull_subscribe(
        "raw.tasks.>", durable="workers", stream="RAW_TASKS", config=ConsumerConfig(max_ack_pending=4096)
    )

    async def take() -> None:
        while True:
            try:
                batch = await tasks.fetch(64, timeout=1)
            except nats.errors.TimeoutError:
                continue
            async with asyncio.TaskGroup() as group:
                for message in batch:
                    group.create_task(one(message))

    async def one(message: nats.aio.msg.Msg) -> None:
        task = message.subject.rsplit(".", 1)[1]
        await stream.publish(f"raw.results.{task}", message.data, headers={"Nats-Msg-Id": task})
        await message.ack()

    taking = asyncio.create_task(take())
    await _until_closed()
    taking.cancel()
    await asyncio.wait({taking})
    await client.close()


async def _until_closed() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


ROLES = {"hub": hub, "worker": worker, "raw-worker": raw_worker}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](sys.argv[2], Path(sys.argv[3])))
