"""Where the bus is: told, found on this machine, or started quietly for this process."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import BusUnavailable

if TYPE_CHECKING:
    from box_agent.config import AgentSettings

_START_S = 30.0
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """A bus to connect to. ``tenant`` is empty unless whoever runs it says which; ``gateway_url`` likewise."""

    url: str
    tenant: str = ""
    gateway_url: str = ""
    token: str = ""
    home: str = ""
    """Where it keeps its files, when it runs on this machine: ``BOXHUB_HOME`` for the CLI."""

    @property
    def dashboard_url(self) -> str:
        """What a person opens in a browser; empty when whoever runs the bus did not say."""
        return f"{self.gateway_url}/?token={self.token}" if self.gateway_url else ""


def discover(url: str | None, settings: AgentSettings) -> Found:
    """The first of: ``url``, the settings' ``nats_url``, a live hub's connection file, a hub started for this process.

    Blocks while a hub starts (once per process, about two seconds). Raises `BusUnavailable` that says the cure.
    """
    if url:
        return Found(url)
    if settings.nats_url:
        return Found(settings.nats_url)
    return running_hub(settings.connection_file) or embedded_hub()


def known(settings: AgentSettings) -> bool:
    """Whether `discover` would find a bus without starting one."""
    return bool(settings.nats_url) or _once.running or running_hub(settings.connection_file) is not None


def running_hub(file: Path) -> Found | None:
    """The hub that ``boxhub up`` runs on this machine, if its connection file is there and its process lives."""
    try:
        record = json.loads(file.read_text())
        os.kill(int(record["pid"]), 0)
        return _found(record)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, a stale one, or one of another user: as good as none


def _found(record: dict[str, Any]) -> Found:
    rest = (str(record.get(key) or "") for key in ("tenant", "gateway_url", "token", "home"))
    return Found(str(record["nats_url"]), *rest)


class _Embedded:
    """The hub of this process: ends when its standard input closes, so it cannot outlive us, however we end."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process it reads from
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hub.local", "--embedded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C in our terminal is ours; the hub ends after our last message
        )
        self.pid = os.getpid()
        self.found = self._wait_ready()

    @property
    def alive(self) -> bool:
        return self.pid == os.getpid() and self._process.poll() is None

    def stop(self) -> None:
        """Close its input and wait for its clean end. Harmless twice, and in a forked child."""
        if self.pid != os.getpid():
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _wait_ready(self) -> Found:
        """The connection record it prints when ready."""
        assert self._process.stdout is not None
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.append(self._process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        reader.join(_START_S)
        try:
            return _found(json.loads(lines[0]))
        except (IndexError, ValueError, KeyError, TypeError) as error:
            self._process.kill()
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()[-2000:]
            raise BusUnavailable(
                f"no hub runs on this machine, and the one started for this process was not ready within "
                f"{_START_S:g} s: {said or 'it said nothing'}; run `boxhub up` to see why, or set BOXHUB_NATS_URL"
            ) from error


class _Once:
    """At most one embedded hub per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hub: _Embedded | None = None

    @property
    def running(self) -> bool:
        return self._hub is not None and self._hub.alive

    def get(self) -> Found:
        with self._lock:
            if self._hub is None or not self._hub.alive:
                self._hub = _Embedded()
                atexit.register(self._hub.stop)
            return self._hub.found


_once = _Once()


def embedded_hub() -> Found:
    """The hub of this process, started if need be. Raises `BusUnavailable`."""
    if importlib.util.find_spec("hub") is None or importlib.util.find_spec("fastapi") is None:
        raise BusUnavailable(
            "no bus was named and none runs on this machine; set BOXHUB_NATS_URL, run `boxhub up` somewhere, or "
            'install the control plane here: pip install "boxhub[hub]"'
        )
    return _once.get()
