"""``boxhub up`` in a terminal: start, say where, end on Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Final

from hub.local.system import LocalSystem
from schemas.errors import Cancelled

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_up(home: Path | None = None, port: int | None = None, quiet: bool = False, nats_url: str = "") -> int:
    """Run a system until it is told to end; the exit code. The first signal ends it in order, the second at once.

    Raises what `LocalSystem` raises when it does not start.
    """
    from hub.config import HubSettings

    settings = HubSettings() if home is None else HubSettings(home=home)
    chosen = settings.gateway_port if port is None else port
    system = LocalSystem(settings.home, gateway_port=chosen, nats_url=nats_url)
    with_signals(system)
    try:
        async with system:
            say(system, quiet)
            await system.stop_requested.wait()
            if not quiet:
                print("stopping; once more to kill", file=sys.stderr, flush=True)
    except Cancelled:
        return 130
    return 0


def with_signals(system: LocalSystem, numbers: tuple[signal.Signals, ...] = SIGNALS) -> None:
    """Connect the process's signals to ``system``, for as long as the loop runs."""

    def arrived() -> None:
        if system.stop_requested.is_set():
            system.kill()
        system.request_stop()

    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, arrived)


def say(system: LocalSystem, quiet: bool) -> None:
    url = system.connection.dashboard_url
    if quiet:
        print(url, flush=True)
        return
    print(f"boxhub is ready after {system.ready_after_s:.1f} s", flush=False)
    print(f"  dashboard  {url}")
    print(f"  home       {system.home.directory}  (logs in {system.home.logs.name}/)")
    print("  Ctrl-C ends it", flush=True)
