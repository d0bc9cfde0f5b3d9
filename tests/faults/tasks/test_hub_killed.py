"""The hub dies by SIGKILL at any moment, stands still, or is one of two: nothing accepted is lost or run twice."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from schemas.ids import new_id
from schemas.task import Retry, TaskRecord, TaskSpec
from tests.faults.tasks.processes import running
from tests.integration.tasks.hub import connect, task_hub
from tests.servers.nats import NatsServer

pytestmark = [pytest.mark.nats_versions("current"), pytest.mark.timeout(120)]


@pytest.mark.parametrize("writes", [1, 2, 3, 4, 5, 6])
async def test_it_dies_after_a_write(shared_nats_server: NatsServer, tenant: str, tmp_path: Path, writes: int) -> None:
    """A task that fails twice and then succeeds; the hub is killed right after its n-th write, then comes back."""
    url, tries = shared_nats_server.url, 0
    async with await connect("worker", url, tenant) as worker, await connect("planner", url, tenant) as planner:

        @worker.skill
        async def flaky() -> int:
            nonlocal tries
            tries += 1
            if tries <= 2:
                raise RuntimeError("the first times always fail")
            return tries

        async def delegate() -> TaskRecord:
            retry = Retry(max_attempts=9, initial_s=0.1)
            spec = TaskSpec(id="t1", box="worker", skill="flaky", retry=retry)
            await planner.tasks.submit(spec, timeout_s=40)
            return await planner.tasks.wait("t1", 40)

        with running("hub", url, tenant, tmp_path, str(writes)) as first:
            async with asyncio.TaskGroup() as group:
                delegating = group.create_task(delegate())
                await asyncio.to_thread(lambda: os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT))
                with running("hub", url, tenant, tmp_path):
                    record = await delegating
                    updates = [u async for u in planner.tasks.updates("t1")]
    assert record.state == "completed"
    assert [u.number for u in updates] == list(range(1, record.updates + 1))
    assert not any(a.live for a in record.attempts)
    assert record.result == tries
    assert [a.number for a in record.attempts] == list(range(1, len(record.attempts) + 1))


async def test_it_is_killed_again_and_again_under_load(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url, chance = shared_nats_server.url, random.Random(7)
    async with await connect("worker", url, tenant, attempts=32) as worker, await connect("p", url, tenant) as planner:

        @worker.skill
        async def double(n: int) -> int:
            await asyncio.sleep(0.02)
            return 2 * n

        async def one(n: int) -> None:
            spec = TaskSpec(
                id=f"t{n}", box="worker", skill="double", arguments={"n": n}, retry=Retry(max_attempts=20, initial_s=0)
            )
            await planner.tasks.submit(spec, timeout_s=60)
            record = await planner.tasks.wait(f"t{n}", 60)
            assert (record.state, record.result) == ("completed", 2 * n)

        async def kill_hubs(done: asyncio.Event) -> None:
            for _ in range(3):
                with running("hub", url, tenant, tmp_path):
                    await asyncio.sleep(0.3 + chance.random())  # the moment of the kill is meant to be random
            with running("hub", url, tenant, tmp_path):
                await done.wait()

        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(kill_hubs(done))
            async with asyncio.TaskGroup() as tasks:
                for n in range(150):
                    tasks.create_task(one(n))
            done.set()


async def test_it_stands_still_for_longer_than_a_lease(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    """Runners could not renew meanwhile; that was the hub's fault, and costs them nothing."""
    url = shared_nats_server.url
    async with await connect("worker", url, tenant) as worker, await connect("planner", url, tenant) as planner:
        started, finish = asyncio.Event(), asyncio.Event()

        @worker.skill
        async def long() -> str:
            started.set()
            await finish.wait()
            return "done"

        with running("hub", url, tenant, tmp_path) as hub:
            handle = await planner.delegate("worker", "long")
            await started.wait()
            hub.pause()
            await asyncio.sleep(4)  # more than twice the lease
            hub.resume()
            updates = handle.updates()
            while (await anext(updates)).state != "working":
                pass
            await asyncio.sleep(1)  # several looks at the leases
            finish.set()
            assert await handle.result(timeout_s=20) == "done"
            assert len((await handle.get()).attempts) == 1


async def test_two_hubs_on_one_store_run_every_task_once(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url, ran = shared_nats_server.url, []
    async with (
        task_hub(url, tenant, tmp_path) as one,
        task_hub(url, tenant, tmp_path) as two,
        await connect("worker", url, tenant, attempts=8) as worker,
        await connect("planner", url, tenant) as planner,
    ):

        @worker.skill
        async def note(n: int) -> int:
            ran.append(n)
            return n

        handles = [await planner.delegate("worker", "note", {"n": n}, id=new_id("t")) for n in range(200)]
        results = [await handle.result(timeout_s=60) for handle in handles]
        assert results == list(range(200))
        assert sorted(ran) == results, "each exactly once"
        for handle in handles:
            record = await handle.get()
            assert sum(a.state != "refused" for a in record.attempts) == 1
        assert one.engine.store.writes > 0
        assert two.engine.store.writes > 0


async def test_a_reader_at_one_hub_sees_what_another_writes(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as one, task_hub(url, tenant, tmp_path) as two:
        record = await one.engine.submit(TaskSpec(id="t1", box="nobody", skill="work"), submitter="me")
        seen = []
        async with asyncio.timeout(5):
            async for update in two.engine.updates(record.id):
                seen.append(update.state)
                if update.state == "submitted":
                    await one.engine.cancel(record.id, by="me")
        assert seen == ["submitted", "canceled"]
