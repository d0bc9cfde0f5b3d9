"""Heartbeats: how the node is, and which boxes are on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from schemas.box import LiveBox, SkillSpec
from schemas.errors import BoxhubError, PayloadTooLarge
from schemas.node import NodeInfo

if TYPE_CHECKING:
    from box_agent.agent import Agent

BEAT: Final = "presence.node"
GOODBYE: Final = "presence.goodbye"
_GAP_S: Final = 0.1
"""Changes in a burst share a beat."""
_SHARE: Final = 20


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
        """Until cancelled. Beats take at most a twentieth of this process's time, however many boxes come and go."""
        self._agent.connection.on_reconnect.append(self.changed)
        while True:
            self._changed.clear()
            began = time.monotonic()
            self.beat()
            await asyncio.sleep(min(max(_GAP_S, _SHARE * (time.monotonic() - began)), self._beat_s))
            try:
                async with asyncio.timeout(self._beat_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def beat(self) -> None:
        """Now. Without a connection nothing is said; the next beat after it says all."""
        if not self._agent.connection.connected:
            return
        node, boxes = self._node().wire(), self._boxes()
        try:
            try:
                self._agent.publish_signal(BEAT, {"node": node, "boxes": [box.wire() for box in boxes]})
            except PayloadTooLarge:
                short = [box.model_copy(update={"skills": [_short(s) for s in box.skills]}) for box in boxes]
                self._agent.publish_signal(BEAT, {"node": node, "boxes": [box.wire() for box in short]})
        except BoxhubError as error:
            self._agent.connection.faults.report("beat_not_sent", error=str(error))

    def goodbye(self) -> None:
        """The last word of this process: the node, and all that was on it, is gone."""
        if self._agent.connection.connected:
            self._agent.publish_signal(GOODBYE, {"id": self._agent.address, "instance": self._node().instance})


def _short(skill: SkillSpec) -> SkillSpec:
    """What remains of a skill where the schemas of all boxes together are too large for one message."""
    return SkillSpec(name=skill.name, streaming=skill.streaming, timeout_s=skill.timeout_s)
