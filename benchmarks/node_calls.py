"""Skill calls into a live box: caller → server → node → box and back, against a raw request to another process.

Caller, node and box are processes of their own, as they are in earnest; so is the raw side's responder. The raw side
has the same bytes on the wire, and nothing behind its subscription.
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
from benchmarks.load import PAYLOAD, RAW, in_parallel, request_body
from benchmarks.servers import nats_server
from benchmarks.task_roles import RAW_ECHO, TENANT
from benchmarks.tasks import role
from box_agent import Box, aio, skill

AT_ONCE = 64
P50_DEMAND = 0.33
P50_STRETCH = 0.5
STRETCH_PER_S = 5000


class Echo(Box):
    @skill
    def echo(self, text: str) -> dict[str, str]:
        return {"text": text}


async def _measure(url: str, singles: int, count: int, runs: int) -> Sequence[Row]:
    client = await nats.connect(url)
    request = request_body()
    async with aio.connect("caller", url=url, tenant=TENANT) as agent:
        live = await agent.spawn(Echo())
        isolation = (await live.info()).isolation

        async def raw() -> None:
            await client.request(RAW_ECHO, request, timeout=30)

        async def ours() -> None:
            await live.call("echo", PAYLOAD)

        def p50(one: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
            async def measure() -> float:
                taken = []
                for _ in range(singles):
                    began = time.perf_counter()
                    await one()
                    taken.append(time.perf_counter() - began)
                return statistics.median(taken)

            return measure

        def rate(one: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
            async def measure() -> float:
                began = time.perf_counter()
                await in_parallel(one, AT_ONCE, count)
                return count / (time.perf_counter() - began)

            return measure

        times = await interleave({"ours": p50(ours), "raw": p50(raw)}, runs=runs)
        rates = await interleave({"ours": rate(ours), "raw": rate(raw)}, runs=runs)
        await live.stop()
    await client.close()
    base = f"{RAW} request"
    return [
        row(
            "node_skill_call_p50", times["ours"], times["raw"], baseline_name=base, unit="s", better="lower",
            demand=P50_DEMAND, note=f"isolation {isolation}; stretch {P50_STRETCH:g}",
        ),
        row(
            "node_skill_calls_64", rates["ours"], rates["raw"], baseline_name=base, unit="calls/s", better="higher",
            demand=None, note=f"isolation {isolation}; stretch {STRETCH_PER_S}/s",
        ),
    ]  # fmt: skip


def node_skill_calls(singles: int = 500, count: int = 4000, runs: int = 7) -> Sequence[Row]:
    with nats_server() as url, tempfile.TemporaryDirectory(prefix="boxhub-bench-") as directory:
        home = Path(directory)
        with role("hub", url, home), role("node", url, home), role("raw-echo", url, home):
            return asyncio.run(_measure(url, singles, count, runs))


BENCHMARKS = [Benchmark("node_skill_calls", node_skill_calls)]
