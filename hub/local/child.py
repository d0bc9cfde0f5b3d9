"""One process that is started again when it dies, until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from hub.local.logs import LogFile

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
FIRST_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 5.0
STABLE_S: Final = 10.0
KILL_S: Final = 5.0

State = Literal["starting", "running", "waiting", "stopped"]
Line = Mapping[str, Any]


class Child:
    """Runs ``command`` in a session of its own; restarts with growing delays (0.1 s to 5 s, anew after 10 s of life).

    The kernel kills the process when the supervisor dies. With ``on_line`` the process is given a pipe as
    ``BOXHUB_READY_FD``, and each JSON object it writes there is passed on. ``changed`` is called after every change
    of `state`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        directory: Path,
        log: LogFile,
        changed: Callable[[Child], None],
        on_line: Callable[[Line], None] | None = None,
    ) -> None:
        self.name = name
        self.env = dict(env)
        self.log = log
        self.state: State = "stopped"
        self.starts = 0
        self.deaths: list[str] = []  # how each run ended, newest last, a few
        self._command = [str(part) for part in command]
        self._directory = directory
        self._changed = changed
        self._on_line = on_line
        self._process: Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int:
        """Of the present run; 0 between runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def run(self) -> None:
        """Keep it running until `stop`. On cancellation the process is killed."""
        delay = FIRST_DELAY_S
        try:
            while not self._stopping.is_set():
                begun = time.monotonic()
                await self._run_once()
                if self._stopping.is_set():
                    break
                delay = FIRST_DELAY_S if time.monotonic() - begun > STABLE_S else min(delay * 2, MAX_DELAY_S)
                self._to("waiting")
                await self._pause(delay)
        finally:
            self.kill()
            self._to("stopped")

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM, after ``timeout_s`` SIGKILL; returns when the process is gone. Harmless when it never ran."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            self.kill()
            async with asyncio.timeout(KILL_S):
                await process.wait()

    def kill(self) -> None:
        """SIGKILL to the present run, if there is one."""
        self._signal(signal.SIGKILL)

    async def _run_once(self) -> None:
        self._to("starting")
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        reading, writing = os.pipe() if self._on_line is not None else (-1, -1)
        log = self.log.open()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *launcher,
                *self._command,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=self._directory,
                env=self.env | ({"BOXHUB_READY_FD": str(writing)} if writing >= 0 else {}),
                pass_fds=(writing,) if writing >= 0 else (),
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends its children in order
            )
        except BaseException:
            if reading >= 0:
                os.close(reading)
            raise
        finally:
            os.close(log)
            if writing >= 0:
                os.close(writing)
        self.starts += 1
        if self._on_line is None:
            self._to("running")
            code = await self._process.wait()
        else:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read(reading, self._on_line))
                code = await self._process.wait()
                reader.cancel()
        self.deaths = [*self.deaths[-4:], _how(code)]

    async def _read(self, descriptor: int, on_line: Callable[[Line], None]) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while line := await reader.readline():
                if self.state == "starting":
                    self._to("running")
                on_line(json.loads(line))
        finally:
            transport.close()

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            pass  # the usual case: the delay is over

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                pass  # it ended this very moment

    def _to(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._changed(self)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
