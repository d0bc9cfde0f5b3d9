"""What ``import box_agent`` costs a fresh interpreter."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.harness import Benchmark, Row, interleave
from benchmarks.load import plain_row


def import_box_agent(runs: int = 15) -> Sequence[Row]:
    """A fresh interpreter that imports it, against one that imports what it is built on."""

    def timed(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    async def measure() -> dict[str, list[float]]:
        async def ours() -> float:
            return timed("import box_agent")

        async def connecting() -> float:
            return timed("import box_agent; box_agent.connect, box_agent.aio")

        async def raw() -> float:
            return timed("import nats, pydantic")

        return await interleave({"ours": ours, "connecting": connecting, "raw": raw}, runs=runs)

    measured = asyncio.run(measure())
    base = "import nats, pydantic"
    return [
        plain_row(
            "import_box_agent", measured["ours"], measured["raw"], unit="s", better="lower", demand=0.77, base=base
        ),
        plain_row(
            "import_box_agent_connect",
            measured["connecting"],
            measured["raw"],
            unit="s",
            better="lower",
            demand=None,
            base=base,
            note="with everything that connect loads",
        ),
    ]


BENCHMARKS = [Benchmark("import_box_agent", import_box_agent)]
