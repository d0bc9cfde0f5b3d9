"""Calls of a live box's skill through its node, against a raw NATS request that another process answers.

The call passes the bus, the node, the box's wall and its worker, and comes back the same way.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import nats

from benchmarks.harness import Benchmark, Row, interleave, row
from benchmarks.load import PAYLOAD, in_parallel
from benchmarks.servers import nats_server
from benchmarks.task_roles import TENANT
from benchmarks.tasks import role
from box_agent import Box, aio, skill

BASELINE = "nats-py request"
P50_DEMAND = 0.33
"""The stretch is 0.5."""


class Echo(Box):
    @skill
    def echo(self, text: str) -> str:
        return text


async def _measure(url: str, count: int, at_once: int, runs: int) -> Sequence[Row]:
    client = await nats.connect(url)
    async with aio.connect("client", url=url, tenant=TENANT) as agent, await agent.spawn(Echo) as box:

        async def ours() -> None:
            assert await box.echo(PAYLOAD) == PAYLOAD

        async def raw() -> None:
            await client.request("raw.answer", PAYLOAD.encode(), timeout=30)

        def p50(one: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
            async def measure() -> float:
                taken = []
                for _ in range(count):
                    began = time.perf_counter()
                    await one()
                    taken.append(time.perf_counter() - began)
                return statistics.median(taken) * 1000

            return measure

        def rate(one: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
            async def measure() -> float:
                began = time.perf_counter()
                await in_parallel(one, at_once, 8 * count)
                return 8 * count / (time.perf_counter() - began)

            return measure

        times = await interleave({"ours": p50(ours), "raw": p50(raw)}, runs=runs)
        rates = await interleave({"ours": rate(ours), "raw": rate(raw)}, runs=runs)
    await client.close()
    return [
        row(
            "node_skill_call_p50", times["ours"], times["raw"], baseline_name=BASELINE, unit="ms",
            better="lower", demand=P50_DEMAND, note="one at a time",
        ),
        row(
            f"node_skill_calls_{at_once}", rates["ours"], rates["raw"], baseline_name=BASELINE, unit="calls/s",
            better="higher", demand=None, note="one box, one call at a time in it",
        ),
    ]  # fmt: skip


def node_skill_call(count: int = 500, at_once: int = 64, runs: int = 7) -> Sequence[Row]:
    with nats_server() as url, tempfile.TemporaryDirectory(prefix="boxhub-bench-") as directory:
        folder = Path(directory)
        with role("hub", url, folder), role("node", url, folder), role("raw-answer", url, folder):
            return asyncio.run(_measure(url, count, at_once, runs))


BENCHMARKS = [Benchmark("node_skill_call", node_skill_call)]
