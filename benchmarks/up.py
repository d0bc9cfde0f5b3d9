"""``boxhub up``: from the start of the process to the line that says it is ready.

It brings up nats-server, a hub with its gateway, and a node that the hub knows. The baseline is the time that is
demanded; what the hub's libraries alone take to import is measured in turns with it and told beside it, since a
busy machine slows both.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Benchmark, Row, interleave

DEMAND_S = 3.0
RUNS = 7
IMPORTS = "import fastapi, nats, pydantic_settings, uvicorn"
_END_S = 30


async def _up() -> float:
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-up-") as home:
        return await asyncio.to_thread(_up_once, Path(home) / "home")


def _up_once(home: Path) -> float:
    command = [sys.executable, "-m", "hub.cli", "up", "--home", str(home), "--quiet"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = process.stdout.readline()
        took = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        process.wait(_END_S)
        if not ready.startswith("http://"):
            raise SystemExit(f"boxhub up did not start: {process.stderr.read()[-2000:]}")
    return took


async def _imports() -> float:
    began = time.perf_counter()
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", IMPORTS], check=True, timeout=_END_S)
    return time.perf_counter() - began


def up_ready() -> Sequence[Row]:
    """Seconds until ready; met when the median is at most three seconds."""
    measured = asyncio.run(interleave({"ours": _up, "imports": _imports}, runs=RUNS))
    ours, imports = statistics.median(measured["ours"]), statistics.median(measured["imports"])
    ratio = DEMAND_S / ours
    return [
        Row(
            name="up_ready",
            ours=round(ours, 3),
            baseline=DEMAND_S,
            baseline_name="the demand of 3 s",
            ratio=round(ratio, 3),
            demand=1.0,
            met=ratio >= 1.0,
            unit="s",
            runs=RUNS,
            note=f"importing FastAPI, nats-py and uvicorn alone takes {imports:.2f} s here",
        )
    ]


BENCHMARKS = (Benchmark("up_ready", up_ready),)
