"""Heartbeats: how the node is, and which boxes are on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from schemas.box import LiveBox
from schemas.errors import BoxhubError
from schemas.node import NodeInfo

if TYPE_CHECKING:
    from box_agent.agent import Agent

BEAT: Final = "presence.node"
GOODBYE: Final = "presence.goodbye"
_GAP_S: Final = 0.1
"""Changes in a burst share a beat."""


class Beats:
    """Publishes the node and its boxes every ``beat_s``, and at once when told that something changed."""

    def __init__(
        self, agent: Agent, node: Callable[[], NodeInfo], boxes: Callable[[], list[LiveBox]], beat_s: float
    ) -> None:
        self._agent = agent
        self._node = node
        self._boxes = boxes
        self._beat_s = beat_s
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._agent.connection.on_reconnect.append(self.changed)
        while True:
            self._changed.clear()
            self.beat()
            await asyncio.sleep(min(_GAP_S, self._beat_s))
            try:
                async with asyncio.timeout(self._beat_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def beat(self) -> None:
        """Now. Without a connection nothing is said; the next beat after it says all."""
        if not self._agent.connection.connected:
            return
        try:
            self._agent.publish_signal(
                BEAT, {"node": self._node().wire(), "boxes": [box.wire() for box in self._boxes()]}
            )
        except BoxhubError as error:
            self._agent.connection.faults.report("beat_not_sent", error=str(error))

    def goodbye(self) -> None:
        """The last word of this process: the node, and all that was on it, is gone."""
        if self._agent.connection.connected:
            self._agent.publish_signal(GOODBYE, {"id": self._agent.address, "instance": self._node().instance})
