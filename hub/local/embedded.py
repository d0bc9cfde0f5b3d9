"""A private system for one script: it lives in a directory of its own and ends when the script does."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from hub.local.foreground import with_signals
from hub.local.home import Home
from hub.local.system import LocalSystem
from schemas.errors import Cancelled, InvalidInput

PREFIX: Final = "boxhub-embedded-"
YOUNG_S: Final = 60.0
ANY_PORT: Final = 0


async def run_embedded() -> int:
    """Print the connection record as one line when ready; end when standard input closes. The exit code.

    Whoever started it holds the other end of standard input, and the kernel closes that however the script ends, so
    kill -9 of the script ends it too. Ctrl-C is left to the script: it may have work to finish with our help.
    """
    sweep()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        system = LocalSystem(directory, gateway_port=ANY_PORT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with_signals(system, (signal.SIGTERM, signal.SIGHUP))
        _stop_when_closed(system, sys.stdin.fileno())
        async with system:
            print(system.connection.to_json(), flush=True)
            await system.stop_requested.wait()
    except Cancelled:
        return 130
    finally:
        shutil.rmtree(directory)
    return 0


def _stop_when_closed(system: LocalSystem, descriptor: int) -> None:
    """Ask the system to stop at the end of standard input; what comes before is of no interest."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            system.request_stop()

    try:
        loop.add_reader(descriptor, readable)
    except PermissionError as error:  # what epoll says of a regular file
        raise InvalidInput("standard input must be a pipe that the starting process holds open") from error


def sweep() -> None:
    """Remove what embedded systems left that were killed themselves: their lock is free, and they are not young."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            about = directory.stat()
        except FileNotFoundError:
            continue  # its owner is just removing it
        if about.st_uid != os.getuid() or time.time() - about.st_mtime < YOUNG_S:
            continue
        if Home(directory).holder() is None:
            shutil.rmtree(directory, ignore_errors=True)
