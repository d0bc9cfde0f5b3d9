"""Delegated tasks against a bare JetStream work queue: submit → run → result, everything durable on the way.

The baseline does the same hops with nats-py alone: the task is stored on a work-queue stream (that is the
acceptance), a worker in another process takes it, stores the result on a second stream, acknowledges, and the
submitter gets the result. It has no record, no lease, no attempts, no cancel and no updates.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
from nats.js.api import DeliverPolicy, RetentionPolicy, StreamConfig

from benchmarks.harness import Benchmark, Row, interleave, row
from benchmarks.servers import nats_server
from benchmarks.task_roles import TENANT
from box_agent import aio
from schemas.ids import new_id

BASELINE = "nats-py work queue"
IN_FLIGHT = 64
RATE_DEMAND = 0.08
"""400 tasks/s where the bare queue does 5,000 on an idle two-core machine."""
P50_DEMAND = 0.08
"""15 ms where the bare queue takes 1.2."""


@contextmanager
def role(name: str, url: str, directory: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.task_roles", name, url, str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{name} did not start")
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class RawQueue:
    """The submitting side of the baseline."""

    def __init__(self, client: Any) -> None:
        self._stream = client.jetstream()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def open(self) -> None:
        results = StreamConfig("RAW_RESULTS", subjects=["raw.results.>"])
        await self._stream.add_stream(results)
        await self._stream.subscribe(
            "raw.results.>", cb=self._on_result, deliver_policy=DeliverPolicy.NEW, manual_ack=True
        )

    async def run(self) -> None:
        task = new_id("task")
        self._waiting[task] = future = asyncio.get_running_loop().create_future()
        await self._stream.publish(f"raw.tasks.{task}", b"{}", headers={"Nats-Msg-Id": task})
        await future

    async def _on_result(self, message: Any) -> None:
        future = self._waiting.pop(message.subject.rsplit(".", 1)[1], None)
        if future is not None:
            future.set_result(message.data)
        await message.ack()


async def _measure(url: str, count: int, singles: int, runs: int) -> Sequence[Row]:
    client = await nats.connect(url)
    raw = RawQueue(client)
    await raw.open()
    async with aio.connect("client", url=url, tenant=TENANT) as agent:

        async def ours() -> None:
            handle = await agent.delegate("worker", "nothing")
            await handle.result(timeout_s=60)

        def rate(once: Any) -> Any:
            async def measure() -> float:
                left = iter(range(count))

                async def lane() -> None:
                    for _ in left:
                        await once()

                began = time.perf_counter()
                async with asyncio.TaskGroup() as group:
                    for _ in range(IN_FLIGHT):
                        group.create_task(lane())
                return count / (time.perf_counter() - began)

            return measure

        def p50(once: Any) -> Any:
            async def measure() -> float:
                taken = []
                for _ in range(singles):
                    began = time.perf_counter()
                    await once()
                    taken.append(time.perf_counter() - began)
                return statistics.median(taken) * 1000

            return measure

        rates = await interleave({"ours": rate(ours), "raw": rate(raw.run)}, runs=runs)
        times = await interleave({"ours": p50(ours), "raw": p50(raw.run)}, runs=runs)
    await client.close()
    return [
        row(
            "task_throughput", rates["ours"], rates["raw"], baseline_name=BASELINE, unit="tasks/s",
            better="higher", demand=RATE_DEMAND, note=f"{IN_FLIGHT} in flight, SQLite store",
        ),
        row(
            "task_latency_p50", times["ours"], times["raw"], baseline_name=BASELINE, unit="ms",
            better="lower", demand=P50_DEMAND, note="one at a time",
        ),
    ]  # fmt: skip


async def _prepare(url: str) -> None:
    client = await nats.connect(url)
    tasks = StreamConfig("RAW_TASKS", subjects=["raw.tasks.>"], retention=RetentionPolicy.WORK_QUEUE)
    await client.jetstream().add_stream(tasks)
    await client.close()


def task_throughput(count: int = 2000, singles: int = 200, runs: int = 5) -> Sequence[Row]:
    with nats_server() as url, tempfile.TemporaryDirectory(prefix="boxhub-bench-") as directory:
        asyncio.run(_prepare(url))
        with (
            role("hub", url, Path(directory)),
            role("worker", url, Path(directory)),
            role("raw-worker", url, Path(directory)),
        ):
            return asyncio.run(_measure(url, count, singles, runs))


BENCHMARKS = [Benchmark("task_throughput", task_throughput)]
