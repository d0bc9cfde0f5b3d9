"""The nats-server is killed and comes back with its store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from schemas.task import Retry
from tests.integration.tasks.hub import connect, task_hub
from tests.servers.nats import NatsServer

pytestmark = [pytest.mark.nats_versions("current"), pytest.mark.timeout(120)]


async def test_tasks_survive_a_killed_server(nats_server: NatsServer, tenant: str, tmp_path: Path) -> None:
    """One runs all the while and is not lost; 60 are submitted, run and reported across two outages."""
    url = nats_server.url
    async with (
        task_hub(url, tenant, tmp_path),
        await connect("worker", url, tenant, attempts=16) as worker,
        await connect("planner", url, tenant) as planner,
    ):
        started, finish = asyncio.Event(), asyncio.Event()

        @worker.skill
        async def long() -> str:
            started.set()
            await finish.wait()
            return "done"

        @worker.skill
        async def double(n: int) -> int:
            await asyncio.sleep(0.05)
            return 2 * n

        held = await planner.delegate("worker", "long")
        await started.wait()

        async def one(n: int) -> int:
            retry = Retry(max_attempts=20, initial_s=0.1)
            handle = await planner.delegate("worker", "double", {"n": n}, id=f"t{n}", retry=retry)
            result: int = await handle.result(timeout_s=90)
            return result

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(n)) for n in range(30)]
            await nats_server.restart()
            tasks += [group.create_task(one(n)) for n in range(30, 60)]
            await asyncio.wait({tasks[0]})
            await nats_server.kill()
            await asyncio.sleep(QUIET_S)
            await nats_server.start()
        assert [task.result() for task in tasks] == [2 * n for n in range(60)]
        finish.set()
        assert await held.result(timeout_s=30) == "done"
        assert len((await held.get()).attempts) == 1, "its runner could not renew, and that was nobody's fault"


QUIET_S = 4.0
"""More than twice the lease of these tests."""
