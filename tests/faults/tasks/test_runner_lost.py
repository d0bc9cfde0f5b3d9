"""Runners are killed, paused past their lease, and come back: one live attempt, and what is late is fenced."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from schemas.task import Retry, TaskRecord, Timeouts
from tests.faults.tasks.processes import process, running
from tests.integration.tasks.hub import TaskHub, connect, task_hub
from tests.servers.nats import NatsServer

pytestmark = [pytest.mark.nats_versions("current"), pytest.mark.timeout(180)]


def working(task: TaskRecord) -> bool:
    return task.state == "working"


def terminal(task: TaskRecord) -> bool:
    return task.terminal


def journal(directory: Path, what: str) -> list[str]:
    path = directory / "ran"
    return [line for line in path.read_text().splitlines() if line.startswith(what)] if path.exists() else []


async def until(hub: TaskHub, fenced: int) -> None:
    async with asyncio.timeout(20):
        while hub.engine.reports.counts["fenced"] < fenced:  # noqa: ASYNC110 - a counter tells nobody when it grows
            await asyncio.sleep(0.05)


async def test_a_killed_runner_loses_its_lease_and_the_task_runs_again(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        with running("runner", url, tenant, tmp_path, "worker") as first:
            handle = await planner.delegate("worker", "work", {"n": 1, "seconds": 60}, id="t1")
            await hub.until("t1", working)
            first.kill()
            with running("runner", url, tenant, tmp_path, "worker"):
                record = await hub.until("t1", lambda t: working(t) and len(t.attempts) == 2)
                assert (record.attempts[0].state, record.attempts[1].state) == ("lost", "running")
                assert record.attempts[0].error is not None
                assert record.attempts[0].error.code == "attempt_lost"
                assert record.attempts[1].assigned_at >= record.attempts[0].lease_expires_at
                await handle.cancel()
                assert (await hub.until("t1", terminal)).state == "canceled"


async def test_a_runner_paused_past_its_lease_is_fenced_when_it_wakes(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        with running("runner", url, tenant, tmp_path, "worker") as paused:
            handle = await planner.delegate(
                "worker", "work", {"n": 1, "seconds": 1.0}, id="t1", retry=Retry(max_attempts=50, initial_s=0.1)
            )
            await hub.until("t1", working)
            paused.pause()
            with running("runner", url, tenant, tmp_path, "worker") as other:
                assert await handle.result(timeout_s=60) == 1
                record = await handle.get()
                assert record.attempts[0].state == "lost"
                assert sum(a.live for a in record.attempts) == 0
                before = hub.engine.reports.counts["fenced"]
                paused.resume()
                await until(hub, before + 1)
                after = await handle.get()
                assert after == record, "what it says now changes nothing"
                assert f"begin 1 {other.pid}" in journal(tmp_path, "begin")


async def test_a_paused_runner_that_wakes_ends_what_it_lost(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    """Alone at its address, it may even be given the next attempt: it ends the old one first."""
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        with running("runner", url, tenant, tmp_path, "worker") as paused:
            handle = await planner.delegate(
                "worker", "work", {"n": 1, "seconds": 3.0}, id="t1", retry=Retry(max_attempts=50, initial_s=0.1)
            )
            await hub.until("t1", working)
            paused.pause()
            await hub.until("t1", lambda t: t.attempts[0].state == "lost")
            paused.resume()
            assert await handle.result(timeout_s=60) == 1
            record = await handle.get()
            begun, ended = len(journal(tmp_path, "begin")), len(journal(tmp_path, "end"))
            assert begun == ended >= 2
            assert record.attempts[-1].state == "ended"


async def test_cancel_of_a_task_whose_runner_is_killed_names_its_proof(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        with running("runner", url, tenant, tmp_path, "worker") as runner:
            handle = await planner.delegate("worker", "work", {"n": 1, "seconds": 60}, id="t1")
            await hub.until("t1", working)
            runner.kill()
            assert not (await handle.cancel()).terminal
            record = await hub.until("t1", terminal)
        assert record.state == "canceled"
        assert record.cancel is not None
        assert record.cancel.proof == "runner_gone"
        assert record.cancel.stopped_at is not None
        assert record.cancel.stopped_at >= record.attempts[0].lease_expires_at
        assert len(record.attempts) == 1


async def test_cancel_of_a_task_whose_runner_came_back_without_it(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    """Killed before it ever renewed, so its instance is not known, and another process lives at the address."""
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        with running("runner", url, tenant, tmp_path, "worker") as runner:
            handle = await planner.delegate("worker", "work", {"n": 1, "seconds": 60}, id="t1")
            await hub.until("t1", working)
            runner.kill()
        with running("runner", url, tenant, tmp_path, "worker"):
            await handle.cancel()
            record = await hub.until("t1", terminal)
        assert record.state == "canceled"
        assert record.cancel is not None
        assert record.cancel.proof in ("runner_denies", "runner_gone")


async def test_an_attempt_timeout_does_not_start_another_while_the_first_may_run(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url = shared_nats_server.url
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        with running("runner", url, tenant, tmp_path, "worker") as runner:
            await planner.delegate(
                "worker", "work", {"n": 1, "seconds": 60}, id="t1", timeouts=Timeouts(attempt_s=0.3),
                retry=Retry(max_attempts=2, initial_s=0),
            )  # fmt: skip
            await hub.until("t1", working)
            runner.pause()  # it hears nothing of the timeout
            record = await hub.until("t1", lambda t: t.attempts[0].stopping is not None)
            assert record.attempts[0].live, "asked to stop is not stopped"
            record = await hub.until("t1", lambda t: not t.attempts[0].live)
            assert record.attempts[0].state == "lost"
            assert record.attempts[0].ended_at is not None
            assert record.attempts[0].ended_at >= record.attempts[0].lease_expires_at
            runner.resume()
            record = await hub.until("t1", terminal, 30)
            assert record.error is not None
            assert record.error.code == "deadline_exceeded"


async def test_500_tasks_while_runners_are_killed_at_random(
    shared_nats_server: NatsServer, tenant: str, tmp_path: Path
) -> None:
    url, chance = shared_nats_server.url, random.Random(11)
    async with task_hub(url, tenant, tmp_path) as hub, await connect("planner", url, tenant) as planner:
        done = asyncio.Event()

        async def keep_killing() -> None:
            runners = [process("runner", url, tenant, tmp_path, "worker") for _ in range(2)]
            for runner in runners:
                runner.launch()
            try:
                while not done.is_set():
                    try:
                        async with asyncio.timeout(0.5 + chance.random()):  # the moment is meant to be random
                            await done.wait()
                    except TimeoutError:
                        index = chance.randrange(len(runners))
                        runners[index].kill()
                        runners[index] = process("runner", url, tenant, tmp_path, "worker")
                        runners[index].launch()
                        await runners[index].ready()  # else a slow machine kills them before they have begun
            finally:
                for runner in runners:
                    runner.kill()

        async def one(n: int) -> TaskRecord:
            retry = Retry(max_attempts=100, initial_s=0.05, max_s=0.2)
            await planner.delegate("worker", "work", {"n": n, "seconds": 0.05}, id=f"t{n}", retry=retry)
            return await planner.tasks.wait(f"t{n}", 150)

        async with asyncio.TaskGroup() as group:
            killing = group.create_task(keep_killing())
            async with asyncio.TaskGroup() as tasks:
                running_tasks = [tasks.create_task(one(n)) for n in range(500)]
            done.set()
            await killing
        records = [task.result() for task in running_tasks]
        assert [r.result for r in records] == list(range(500))
        assert all(r.state == "completed" for r in records)
        assert one_live_attempt_at_a_time(records)
        assert any(len(r.attempts) > 1 for r in records), "the kills must have hit something"
        assert not await hub.engine.newest(("submitted", "working"), limit=10)


def one_live_attempt_at_a_time(records: Iterable[TaskRecord]) -> bool:
    return all(
        earlier.ended_at is not None and earlier.ended_at <= later.assigned_at + 0.001
        for record in records
        for earlier, later in zip(record.attempts, record.attempts[1:], strict=False)
    )
