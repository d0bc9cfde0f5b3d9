"""Updates: bounded, resumable, and an explicit gap where some are gone; large results; what is forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from box_agent.box.context import Context
from hub.tasks.history import PAGE
from schemas.errors import PayloadTooLarge, TaskNotFound
from schemas.task import TaskUpdate
from tests.integration.tasks.conftest import Join
from tests.integration.tasks.hub import QUICK, TaskHub, connect, task_hub
from tests.servers.nats import NatsServer

pytestmark = pytest.mark.nats_versions("current")


async def test_old_updates_leave_a_gap_that_says_so(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url, kept = shared_nats_server.url, 64
    settings = QUICK.model_copy(update={"updates_kept": kept})
    async with (
        task_hub(url, tenant, tmp_path, settings) as hub,
        await connect("worker", url, tenant) as worker,
        await connect("planner", url, tenant) as planner,
    ):
        half, go_on = asyncio.Event(), asyncio.Event()

        @worker.skill
        async def talk(context: Context) -> None:
            for i in range(400):
                context.log(str(i))
                await asyncio.sleep(0)
                if i == 200:
                    half.set()
                    await go_on.wait()

        handle = await planner.delegate("worker", "talk")
        await half.wait()
        await hub.until(handle.id, lambda t: t.updates > 200)
        live: list[TaskUpdate] = []

        async def follow() -> None:
            live.extend([u async for u in handle.updates()])

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            go_on.set()
        stored = await hub.engine.store.get(handle.id)
        assert stored.updates > 400
        assert stored.first_kept > 1
        late = [u async for u in handle.updates()]
        assert late[0].kind == "gap"
        assert (late[0].number, late[0].data["until"]) == (1, stored.first_kept - 1)
        assert [u.number for u in late[1:]] == list(range(stored.first_kept, stored.updates + 1))
        assert kept <= len(late) <= kept + 3 * PAGE + 50
        covered = 0
        for update in live:  # a reader on the way sees every number, or is told which ones it does not
            assert update.number == covered + 1
            covered = update.data["until"] if update.kind == "gap" else update.number
        assert covered == stored.updates


async def test_a_reader_that_leaves_and_comes_back_misses_nothing(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    async def talk(context: Context) -> None:
        for i in range(150):
            context.progress(i)
            await asyncio.sleep(0.001)

    handle = await planner.delegate("worker", "talk")
    numbers: list[int] = []
    while not numbers or not (await handle.get()).terminal or numbers[-1] < (await handle.get()).updates:
        async for update in handle.updates(after=numbers[-1] if numbers else 0):
            numbers.append(update.number)
            if len(numbers) % 20 == 0:
                break  # the connection is lost
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 150


async def test_a_large_result_comes_whole_and_one_beyond_all_limits_is_an_error(hub: TaskHub, join: Join) -> None:
    worker, planner = await join("worker"), await join("planner")

    @worker.skill
    async def blow(size: int) -> str:
        return "x" * size

    large = await planner.delegate("worker", "blow", {"size": 3_000_000})
    assert len(await large.result(timeout_s=30)) == 3_000_000
    beyond = await planner.delegate("worker", "blow", {"size": 9_000_000})
    with pytest.raises(PayloadTooLarge):
        await beyond.result(timeout_s=30)


async def test_ended_tasks_are_forgotten_with_their_updates(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        old, young = await planner.delegate("nobody", "work"), await planner.delegate("nobody", "work")
        waiting = await planner.delegate("nobody", "work")
        await old.cancel()
        await hub.until(old.id, lambda t: t.terminal)
        await hub.engine.store.change(old.id, lambda t: t.model_copy(update={"updated_at": 1.0, "cascade": False}))
        await young.cancel()
    async with task_hub(url, tenant, tmp_path) as hub:
        gone = asyncio.timeout(10)
        async with gone:
            while {t.id for t in await hub.engine.newest()} != {young.id, waiting.id}:  # noqa: ASYNC110 - silent
                await asyncio.sleep(0.02)
        with pytest.raises(TaskNotFound):
            await hub.engine.get(old.id)
