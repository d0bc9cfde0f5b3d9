"""A server as a child process of the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
LOG_LINES = 200


class ServerFailed(Exception):
    """The server ended, or was not ready in time. The message carries the end of its log."""


class ServerProcess:
    """One run of a server, from `launch` to its end; not started twice.

    Ready means: a line of its output satisfied ``is_ready``. Must be launched from the thread that lives as long as
    the server should (pytest's main thread), because the kernel ties the server's life to that thread.
    """

    def __init__(self, name: str, command: Sequence[str | Path], *, is_ready: Callable[[str], bool]) -> None:
        self.name = name
        self._command = [str(part) for part in command]
        self._is_ready = is_ready
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._settled = threading.Event()  # ready, or its output ended
        self.ready_line: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def launch(self) -> None:
        """Start the process without waiting until it is ready."""
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        self._process = subprocess.Popen(
            [*launcher, *self._command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the tests; they end the server in order
        )
        self._reader = threading.Thread(target=self._read, name=f"{self.name}-log", daemon=True)
        self._reader.start()

    def wait_ready(self, timeout_s: float = 20.0) -> str:
        """The line that said it is ready. Raises `ServerFailed`; the process is then gone."""
        self._settled.wait(timeout_s)
        if self.ready_line is None:
            self.kill()
            raise ServerFailed(f"{self.name} was not ready within {timeout_s} s\n{self.log_tail()}")
        return self.ready_line

    async def ready(self, timeout_s: float = 20.0) -> str:
        """`wait_ready` without blocking the loop."""
        return await asyncio.to_thread(self.wait_ready, timeout_s)

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers. Returns when every thread stands still."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Harmless when it is gone already."""
        if self._process is not None:
            self._process.kill()  # ends a paused process too
            self._reap(timeout_s=10)

    def stop(self, timeout_s: float = 10.0) -> None:
        """SIGTERM, after ``timeout_s`` SIGKILL. Harmless when never launched or gone already."""
        if not self.running:
            return
        self.resume()
        self._running().terminate()
        try:
            self._reap(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self) -> str:
        return "\n".join(self._lines)

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line.rstrip("\n"))
                if self.ready_line is None and self._is_ready(line):
                    self.ready_line = line.strip()
                    self._settled.set()
        self._settled.set()

    def _reap(self, timeout_s: float) -> None:
        assert self._process is not None and self._reader is not None
        self._process.wait(timeout_s)
        self._reader.join(timeout_s)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ServerFailed(f"{self.name} was never launched")
        return self._process


def free_port() -> int:
    """A loopback port that is free now; for servers that cannot choose one and say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
