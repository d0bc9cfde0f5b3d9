"""A whole system in a directory of its own, its processes, and what they leave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from hub.local import LocalSystem

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def system_in(home: Path) -> AsyncIterator[LocalSystem]:
    """`boxhub up` in ``home``: nats-server, hub, node, gateway on a free port."""
    async with LocalSystem(home, gateway_port=0) as system:
        yield system


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@asynccontextmanager
async def started(
    *arguments: str, home: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``python -m …`` against the system in ``home``; killed at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        env={**os.environ, "BOXHUB_HOME": str(home), "COLUMNS": "200", **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def run(*arguments: str, home: Path, env: Mapping[str, str] | None = None, timeout_s: float = 90) -> Done:
    async with started(*arguments, home=home, env=env) as process, asyncio.timeout(timeout_s):
        out, err = await process.communicate()
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())


def processes_of(home: Path) -> list[str]:
    """Command lines of living processes that belong to the system in ``home``."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if process.info["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            continue
        try:
            belongs = str(home) in line or process.environ().get("BOXHUB_HOME") == str(home)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            belongs = str(home) in line
        if belongs:
            found.append(line)
    return found


async def none_left(home: Path, within_s: float = 10.0) -> None:
    """Waits until no process of the system in ``home`` is left; fails with their command lines."""
    deadline = asyncio.get_running_loop().time() + within_s
    while left := processes_of(home):
        assert asyncio.get_running_loop().time() < deadline, "still there:\n" + "\n".join(left)
        await asyncio.sleep(0.1)  # processes end without telling us
