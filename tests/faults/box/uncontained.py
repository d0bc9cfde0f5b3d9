"""A guest of the boxlite driver without a machine: a process beside the relay, at the other end of two pipes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from box_agent.drivers.boxlite.relay import serve


class Piped:
    """`box_agent.drivers.boxlite.lines.Line` over a child's standard input and output."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def send(self, line: bytes) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(line)
        await self._child.stdin.drain()

    async def received(self) -> AsyncIterator[bytes]:
        assert self._child.stdout is not None
        while piece := await self._child.stdout.read(65536):
            yield piece

    async def aclose(self) -> None:
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()


async def open_piped(order: dict[str, Any]) -> Piped:
    """As the machine's volumes would have it: the guest finds its places by their real names."""
    real = {target: source for source, target, _ in order["volumes"]}
    real["/box/environment"] = "/"  # of boxes without files
    code = f"from tests.faults.box.uncontained import guest; guest({real!r})"
    boot = "import sys; sys.path[:0] = sys.path[:0] + [sys.argv[1]]; " + code
    pipe = asyncio.subprocess.PIPE
    source = str(Path(__file__).parents[3])
    return Piped(await asyncio.create_subprocess_exec(sys.executable, "-c", boot, source, stdin=pipe, stdout=pipe))


def guest(real: dict[str, str]) -> None:
    from box_agent.drivers.boxlite import guest as inside

    class Moved(inside.Guest):
        def _order(self, data: bytes) -> None:
            order = json.loads(data)
            for name in ("directory",):
                if name in order:
                    order[name] = real.get(order[name], order[name])
            if "sys_path" in order:
                order["sys_path"] = [real.get(path, path) for path in order["sys_path"]]
            super()._order(json.dumps(order).encode())

    inside.Guest = Moved  # type: ignore[misc]
    inside.main()


def main(control: str, lifeline: str, order: str) -> None:
    serve(int(control), int(lifeline), json.loads(order), open_piped)
