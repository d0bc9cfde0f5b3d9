"""Receivers in processes of their own, to be killed and paused."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).parents[3]


class Receiver:
    """One receiver; ``lines`` is what it has said so far."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.lines: list[dict[str, Any]] = []
        self._said = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def wait(self, check: Callable[[dict[str, Any]], bool], count: int = 1, timeout_s: float = 30.0) -> None:
        """Until ``count`` lines satisfied ``check``."""
        async with asyncio.timeout(timeout_s), self._said:
            await self._said.wait_for(lambda: sum(map(check, self.lines)) >= count)

    async def ended(self) -> None:
        """Until the process is gone, by its own doing."""
        async with asyncio.timeout(30):
            await self._process.wait()
            await self._reader

    def all(self, key: str) -> list[Any]:
        return [line[key] for line in self.lines if key in line]

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.startswith(b"{"):
                async with self._said:
                    self.lines.append(json.loads(line))
                    self._said.notify_all()


class Processes:
    """``await processes("coder")`` starts a receiver and waits until it is ready; leaving kills all of them."""

    def __init__(self, url: str, tenant: str) -> None:
        self._url = url
        self._tenant = tenant
        self._started: list[Receiver] = []

    async def __call__(
        self, name: str, *, ack_wait_s: float = 2.0, kind: str = "inbox", die_on: str | None = None, ready: bool = True
    ) -> Receiver:
        arguments = [self._url, self._tenant, name, str(ack_wait_s), kind, *([] if die_on is None else [die_on])]
        command = [sys.executable, "-m", "tests.faults.bus.receiver", *arguments]
        receiver = Receiver(await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=PROJECT))
        self._started.append(receiver)
        if ready:
            await receiver.wait(lambda line: "ready" in line)
        return receiver

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for receiver in self._started:
            await receiver.kill()
