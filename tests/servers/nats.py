"""nats-server for the tests: which versions there are, and one server that can be killed, paused and restarted."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Self

from tests.servers.process import ServerFailed, ServerProcess
from tests.servers.requirement import CACHE_BIN

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_LISTENING = re.compile(r"Listening for client connections on 127\.0\.0\.1:(\d+)")
_ANY_PORT = -1


@dataclass(frozen=True, order=True)
class NatsBinary:
    """A nats-server on this machine; ordered by version."""

    version: tuple[int, int, int]
    path: Path

    def __str__(self) -> str:
        return f"nats-{self.version[0]}.{self.version[1]}"


def find_nats_binaries() -> list[NatsBinary]:
    """The oldest and the newest nats-server here (one entry when they are of the same minor version), oldest first.

    ``BOXHUB_TEST_NATS_SERVERS`` names them, separated as in PATH; otherwise PATH, the system's daemons and what
    ``make test`` built into ``.cache/bin`` are asked.
    """
    named = os.environ.get("BOXHUB_TEST_NATS_SERVERS")
    if named:
        paths = [Path(path) for path in named.split(os.pathsep) if path]
    else:
        places = (*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/sbin", "/usr/sbin", str(CACHE_BIN))
        paths = [Path(program) for place in places if (program := which("nats-server", path=place))]
    by_minor = {binary.version[:2]: binary for binary in sorted(map(_ask_version, dict.fromkeys(paths)))}
    found = sorted(by_minor.values())
    return found if len(found) < 2 else [found[0], found[-1]]


def _ask_version(path: Path) -> NatsBinary:
    output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    match = _VERSION.search(output)
    if match is None:
        raise ServerFailed(f"{path} --version says {output.strip()!r}, which names no version")
    major, minor, patch = (int(part) for part in match.groups())
    return NatsBinary((major, minor, patch), path)


class NatsServer:
    """A nats-server with JetStream on loopback. Port and store stay the same over `kill`, `stop` and `restart`.

    ``directory`` holds its configuration and its store; ``config`` is appended to the configuration (accounts,
    limits). Everything acknowledged survives `kill`, since the page cache outlives the process.
    """

    def __init__(self, binary: NatsBinary, directory: Path, *, config: str = "") -> None:
        self.binary = binary
        self.store_dir = directory / "store"
        self._config_file = directory / "nats-server.conf"
        self._extra_config = config
        self.port = 0
        self._process: ServerProcess | None = None
        self._past_logs: list[str] = []

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._current().pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def launch(self) -> None:
        """`start` for places without an event loop: blocks until the server accepts connections."""
        process = self._spawn()
        process.wait_ready()
        self._note_port(process)

    async def start(self) -> None:
        """Returns when it accepts connections. Raises `ServerFailed` with the end of the log."""
        process = self._spawn()
        await process.ready()
        self._note_port(process)

    async def stop(self) -> None:
        """SIGTERM and wait. Harmless when it is not running."""
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    async def kill(self) -> None:
        """SIGKILL and wait until the process is gone."""
        if self._process is not None:
            await asyncio.to_thread(self._process.kill)

    async def restart(self) -> None:
        """Start again on the same port and store, after `kill` if it still runs."""
        await self.kill()
        await self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers until `resume`."""
        self._current().pause()

    def resume(self) -> None:
        self._current().resume()

    def close(self) -> None:
        """End it at once; for places without an event loop."""
        if self._process is not None:
            self._process.kill()

    def log_tail(self) -> str:
        current = [self._process.log_tail()] if self._process is not None else []
        return "\n--- restarted ---\n".join(self._past_logs + current)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def _spawn(self) -> ServerProcess:
        if self.running:
            raise ServerFailed(f"{self.binary} on port {self.port} is running already")
        if self._process is not None:
            self._past_logs.append(self._process.log_tail())
        self.store_dir.mkdir(parents=True, exist_ok=True)
        # The limits are ceilings, not reservations of disk: streams may declare theirs freely below them.
        self._config_file.write_text(
            f'server_name: test\nlisten: "127.0.0.1:{self.port or _ANY_PORT}"\n'
            f'jetstream {{ store_dir: "{self.store_dir}", max_mem: 1GB, max_file: 100TB }}\n{self._extra_config}\n'
        )
        command: list[str | Path] = [self.binary.path, "--config", self._config_file]
        self._process = ServerProcess(str(self.binary), command, is_ready=lambda line: "Server is ready" in line)
        self._process.launch()
        return self._process

    def _note_port(self, process: ServerProcess) -> None:
        match = _LISTENING.search(process.log_tail())
        if match is None:
            raise ServerFailed(f"{self.binary} does not say where it listens\n{process.log_tail()}")
        self.port = int(match[1])

    def _current(self) -> ServerProcess:
        if self._process is None:
            raise ServerFailed(f"{self.binary} was never started")
        return self._process
