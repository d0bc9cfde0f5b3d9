"""One supervised process: restarts, ready lines, the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hub.local.child import Child
from hub.local.logs import LogFile

READY = "import os; os.write(int(os.environ['BOXHUB_READY_FD']), b'{\"event\": \"ready\"}\\n')\n"
WAIT = "import time\nwhile True: time.sleep(60)\n"


class Watched:
    """A child, the lines it wrote, and a way to wait for what happens to it."""

    def __init__(self, script: str, directory: Path) -> None:
        self.lines: list[Mapping[str, Any]] = []
        self._moved = asyncio.Event()
        self.child = Child(
            "test",
            [sys.executable, "-c", script],
            env=dict(os.environ),
            directory=directory,
            log=LogFile(directory / "test.log"),
            changed=lambda child: self._moved.set(),
            on_line=self._said,
        )

    def _said(self, line: Mapping[str, Any]) -> None:
        self.lines.append(line)
        self._moved.set()

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not check():
                self._moved.clear()
                await self._moved.wait()


@asynccontextmanager
async def running(script: str, directory: Path) -> AsyncIterator[Watched]:
    watched = Watched(script, directory)
    async with asyncio.TaskGroup() as group:
        group.create_task(watched.child.run())
        try:
            yield watched
        finally:
            await watched.child.stop(5)
    assert watched.child.state == "stopped"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_process_comes_back(tmp_path: Path) -> None:
    async with running(READY + WAIT, tmp_path) as watched:
        await watched.until(lambda: len(watched.lines) == 1)
        first = watched.child.pid
        assert watched.child.state == "running"
        os.kill(first, signal.SIGKILL)
        await watched.until(lambda: len(watched.lines) == 2)
        assert watched.child.pid != first
        assert watched.child.deaths == ["killed by SIGKILL"]
        last = watched.child.pid
    assert not alive(last)


async def test_one_that_cannot_start_is_tried_with_growing_pauses(tmp_path: Path) -> None:
    started = asyncio.get_running_loop().time()
    async with running("raise SystemExit(3)", tmp_path) as watched:
        await watched.until(lambda: len(watched.child.deaths) >= 3)
        assert asyncio.get_running_loop().time() - started >= 0.2 + 0.4
        assert watched.child.deaths[0] == "ended with code 3"


async def test_sigterm_first_then_sigkill(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + WAIT
    watched = Watched(stubborn, tmp_path)
    async with asyncio.TaskGroup() as group:
        group.create_task(watched.child.run())
        await watched.until(lambda: bool(watched.lines))
        await watched.child.stop(0.2)
    assert watched.child.deaths == ["killed by SIGKILL"]


async def test_an_orderly_end_is_waited_for(tmp_path: Path) -> None:
    orderly = (
        "import signal, sys, pathlib\n"
        "def end(*_):\n    pathlib.Path('ended').touch()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
    )
    async with running(orderly + READY + WAIT, tmp_path) as watched:
        await watched.until(lambda: bool(watched.lines))
    assert (tmp_path / "ended").exists()
    assert watched.child.deaths == ["ended with code 0"]


async def test_stopping_what_never_ran_or_waits_to_restart_is_fine(tmp_path: Path) -> None:
    never = Watched(WAIT, tmp_path)
    await never.child.stop(1)
    async with running("raise SystemExit(1)", tmp_path) as watched:
        await watched.until(lambda: watched.child.state == "waiting")


async def test_its_output_is_in_the_log(tmp_path: Path) -> None:
    async with running("print('hello', flush=True)\n" + READY + WAIT, tmp_path) as watched:
        await watched.until(lambda: bool(watched.lines))
        assert "hello" in watched.child.log.tail()
