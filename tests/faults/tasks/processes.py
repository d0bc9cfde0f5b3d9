"""Hubs and runners as processes of their own, to be killed and paused.

``python -m tests.faults.tasks.processes hub|runner URL TENANT DIRECTORY NAME``: prints ``ready`` and runs until it is
killed. A runner appends a line to ``DIRECTORY/ran`` when an attempt begins and one when it ends. The name of a hub may
be a number: it kills itself after so many writes of task records.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.task import TaskRecord
from tests.integration.tasks.hub import connect, task_hub
from tests.servers.process import ServerProcess


def process(role: str, url: str, tenant: str, directory: Path, name: str = "") -> ServerProcess:
    command: list[str | Path] = [sys.executable, "-m", "tests.faults.tasks.processes", role, url, tenant, directory]
    return ServerProcess(f"{role} {name}", [*command, name], is_ready=lambda line: line.strip() == "ready")


@contextmanager
def running(role: str, url: str, tenant: str, directory: Path, name: str = "") -> Iterator[ServerProcess]:
    """A started process; the test may kill it, else it is killed at the end."""
    child = process(role, url, tenant, directory, name)
    child.launch()
    try:
        child.wait_ready()
        yield child
    finally:
        child.resume()
        child.kill()


async def hub(url: str, tenant: str, directory: Path, dies_after: int) -> None:
    writes = 0

    def count(task: TaskRecord) -> None:
        nonlocal writes
        writes += 1
        if writes == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    async with task_hub(url, tenant, directory) as running:
        running.engine.observe(count)
        print("ready", flush=True)
        await asyncio.Event().wait()


async def runner(url: str, tenant: str, directory: Path, name: str) -> None:
    journal = os.open(directory / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(text: str) -> None:
        os.write(journal, f"{text} {os.getpid()}\n".encode())

    async with await connect(name, url, tenant, attempts=32) as agent:

        @agent.skill
        async def work(n: int, seconds: float = 0.0) -> int:
            note(f"begin {n}")
            try:
                await asyncio.sleep(seconds)
            finally:
                note(f"end {n}")
            return n

        print("ready", flush=True)
        await asyncio.Event().wait()


async def main() -> None:
    role, url, tenant, directory, name = sys.argv[1:6]
    if role == "hub":
        await hub(url, tenant, Path(directory), int(name or 0))
    else:
        await runner(url, tenant, Path(directory), name)


if __name__ == "__main__":
    asyncio.run(main())
