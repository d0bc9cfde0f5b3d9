"""The forwarders of a driver's boxes, seen from the node: one process for each box that was granted ports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from box_agent.drivers.forking.templates import Pidfd
from schemas.errors import BoxDied

if TYPE_CHECKING:
    from box_agent.bus.scope import Scope
    from box_agent.drivers.forking.templates import TemplateProcess

_FORK_S: Final = 10.0


@dataclass
class _Forwarder:
    process: Pidfd
    lifeline: int
    closing: bool = False


class Forwarders:
    """``lost`` is called with the id of a box whose forwarder ended before it did."""

    def __init__(self, scope: Scope, lost: Callable[[str], None]) -> None:
        self._scope = scope
        self._lost = lost
        self._running: dict[str, _Forwarder] = {}

    async def open(self, ground: TemplateProcess, box: str, ports: Sequence[int], groups: Sequence[int]) -> int:
        """A forwarder for ``box``; the descriptor by which the box reaches it, the caller's to close.

        ``groups``: cgroups of the box, which the forwarder enters. Costs a fork of the ground.
        """
        ours, lifeline = os.pipe2(os.O_CLOEXEC)
        inside, outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with outside:
                order = {"op": "forward", "ports": list(ports)}
                answer = await ground.order(order, (ours, outside.fileno(), *groups), _FORK_S)
            process = Pidfd(answer.content["pid"])
        except BaseException as error:
            os.close(lifeline)  # a forwarder that was made all the same ends now
            inside.close()
            if isinstance(error, ProcessLookupError):
                raise BoxDied(f"{box}: its port forwarder ended as soon as it was made", box=box) from error
            raise
        finally:
            os.close(ours)
        made = self._running[box] = _Forwarder(process, lifeline)
        self._scope.spawn(self._watch(box, made), f"forwarder of {box}")
        return inside.detach()

    async def _watch(self, box: str, made: _Forwarder) -> None:
        await made.process.ended.wait()
        if not made.closing:
            self._lost(box)

    async def close(self, box: str) -> None:
        """Returns when it has ended. Harmless for a box that has none."""
        made = self._running.pop(box, None)
        if made is None:
            return
        made.closing = True
        os.close(made.lifeline)
        made.process.send(signal.SIGKILL)  # it may be in the middle of much data
        await asyncio.shield(made.process.ended.wait())
