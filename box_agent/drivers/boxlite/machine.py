"""A virtual machine of boxlite as a `Line`. Imported by relays only: the package is a hundred megabytes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import boxlite

from box_agent.drivers.boxlite.lines import Line

_STOP_S: Final = 5.0
_MIB: Final = 1024 * 1024


class MachineFailed(Exception):
    """It did not start; the message says what is missing."""


async def open_machine(order: dict[str, Any]) -> Line:
    """Boots within ``order["boot_s"]``. Raises `MachineFailed`, with nothing left."""
    home = Path(order["home"])
    runtime = boxlite.Boxlite(boxlite.Options(home_dir=str(home)))
    try:
        async with asyncio.timeout(order["boot_s"]):
            box = await runtime.create(_options(order))
            execution = await box.exec(order["command"][0], order["command"][1:])
    except TimeoutError:
        raise MachineFailed(f"the machine did not boot within {order['boot_s']:g} s{_last_words(home)}") from None
    except boxlite.BoxliteError as error:
        raise MachineFailed(f"{error}{_last_words(home)}") from error
    return Machine(runtime, box, execution)


class Machine:
    """`Line` over the standard input and output of a program in it."""

    def __init__(self, runtime: Any, box: Any, execution: Any) -> None:
        self._runtime = runtime
        self._box = box
        self._execution = execution
        self._input = execution.stdin()

    async def send(self, line: bytes) -> None:
        await self._input.send_input(line)

    async def received(self) -> AsyncIterator[bytes]:
        async for piece in self._execution.stdout():
            yield piece if isinstance(piece, bytes) else piece.encode()

    async def aclose(self) -> None:
        async with asyncio.timeout(_STOP_S):
            await self._box.stop()
            await self._runtime.shutdown()


def _options(order: dict[str, Any]) -> Any:
    mode = "enabled" if order["network"] else "disabled"
    return boxlite.BoxOptions(
        rootfs_path=order["image"],
        volumes=[tuple(volume) for volume in order["volumes"]],
        network=boxlite.NetworkSpec(mode=mode),
        cpus=max(1, math.ceil(order["cpus"])),
        memory_mib=max(128, order["memory_bytes"] // _MIB),
        env=list(order["env"].items()),
        working_dir="/",
        auto_remove=True,
        detach=False,
    )


def _last_words(home: Path) -> str:
    """Of the machine monitor, which says more than its caller is told."""
    said = [line for log in sorted(home.glob("boxes/*/shim.stderr")) for line in log.read_text().splitlines()]
    wrong = [line for line in said if "ERROR" in line] or said[-1:]
    return f"; the machine monitor's last words: {wrong[-1].strip()}" if wrong else ""
