"""A node without a driver: it speaks on the real bus as nodes do, keeps its boxes in a dict, and can misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

from box_agent.agent import Agent
from schemas.box import LiveBox, SpawnRequest
from schemas.errors import BoxhubError
from schemas.ids import new_id
from schemas.node import DriverInfo, NodeInfo


class StandInNode:
    """``agent`` is at ``_node-<name>`` and sends no beats of its own."""

    def __init__(self, name: str, agent: Agent, **info: Any) -> None:
        self.agent = agent
        self.boxes: dict[str, LiveBox] = {}
        self.asked: list[str] = []
        self.stopped: list[tuple[str, str]] = []
        self.fail_with: BoxhubError | None = None
        self.hold: asyncio.Event | None = None
        self.stop_called = asyncio.Event()
        drivers = [DriverInfo(name="process", isolation="none", branching="fs")]
        self.info = NodeInfo.model_validate(
            {"name": name, "instance": agent.instance, "drivers": drivers, "max_boxes": 100, **info}
        )

        async def _box_spawn(request: SpawnRequest) -> dict[str, Any]:
            return await self._spawn(request)

        async def _box_stop(id: str, reason: str = "") -> dict[str, Any] | None:
            return self._stop(id, reason)

        agent.serve_own(_box_spawn)
        agent.serve_own(_box_stop)

    async def keep_beating(self) -> None:
        """Until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(0.2)

    async def until_stopped(self, box: str) -> str:
        """Returns the reason it was stopped for."""
        while box not in dict(self.stopped):
            self.stop_called.clear()
            await self.stop_called.wait()
        return dict(self.stopped)[box]

    def beat(self) -> None:
        self.agent.publish_signal(
            "presence.node", {"node": self.info.wire(), "boxes": [box.wire() for box in self.boxes.values()]}
        )

    def goodbye(self) -> None:
        self.agent.publish_signal("presence.goodbye", {"id": self.agent.address, "instance": self.agent.instance})

    async def _spawn(self, request: SpawnRequest) -> dict[str, Any]:
        self.asked.append(request.id)
        if self.hold is not None:
            await self.hold.wait()
        if self.fail_with is not None:
            raise self.fail_with
        if request.id not in self.boxes:
            self.boxes[request.id] = LiveBox(
                id=request.id,
                kind="live",
                box=request.definition.name,
                fingerprint=request.definition.fingerprint,
                instance=new_id("i"),
                node=self.info.name,
                driver="process",
                owner=request.owner,
                started_at=1.0,
            )
            self.beat()
        return self.boxes[request.id].wire()

    def _stop(self, id: str, reason: str) -> dict[str, Any] | None:
        self.stopped.append((id, reason))
        self.stop_called.set()
        box = self.boxes.pop(id, None)
        self.beat()
        return box.model_copy(update={"state": "stopped", "reason": reason}).wire() if box else None
