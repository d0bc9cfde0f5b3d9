"""The order to the first process of a world, once it has loaded a Box: become it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from box_agent.drivers.contained.world import World
from box_agent.drivers.forking.keeping import control_pair, keeper_of
from box_agent.drivers.forking.limits import rlimits
from box_agent.drivers.forking.templates import Pidfd, TemplateGone
from box_agent.worker.processes import MARKER
from schemas.box import BoxDefinition
from schemas.errors import BoxDied

_FORK_S: Final = 10.0


async def begin(world: World, definition: BoxDefinition, box: str) -> tuple[tuple[socket.socket, socket.socket], Pidfd]:
    """Our ends of the worker's and of the keeper's socket, and the keeper. Raises `BoxDied`."""
    worker, worker_end = socket.socketpair()
    control, control_end = control_pair()
    try:
        with worker_end, control_end:
            fds = (worker_end.fileno(), control_end.fileno())
            await world.template.order(_order(world, definition, box), fds, _FORK_S)
        async with asyncio.timeout(_FORK_S):
            keeper = await keeper_of(control, box)
        return (worker, control), Pidfd(keeper)
    except BaseException as error:
        worker.close()
        control.close()
        if isinstance(error, TemplateGone | ProcessLookupError):
            raise BoxDied(f"{box} ended as soon as it was made", box=box) from error
        raise


def _order(world: World, definition: BoxDefinition, box: str) -> dict[str, Any]:
    return {
        "op": "spawn",
        "box": box,
        "directory": str(world.workspace),
        "env": {"PWD": str(world.workspace), **world.variables, **definition.env, MARKER: box},
        "limits": rlimits(definition.resources),
        "concurrency": definition.resources.concurrency or 1,
    }
