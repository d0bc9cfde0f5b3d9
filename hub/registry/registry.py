"""`Registry`: the live view of one tenant, kept up to date from the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from pydantic import ValidationError

from context_store.store import Scope
from hub.config import HubSettings
from hub.registry.changes import Changes, Feed
from hub.registry.definitions import Definitions
from hub.registry.presence import Change, Presence
from hub.registry.spawned import SpawnedBoxes
from hub.registry.spawner import Spawner
from hub.registry.warmth import Warmth
from schemas.box import BoxDefinition, LiveBox
from schemas.node import NodeInfo, node_address

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from box_agent.bus.received import Signal

_log = structlog.get_logger(__name__)

CHECK_S: Final = 0.5
BEATS: Final = 2.5
STALLED_S: Final = 3.0
"""When the check comes so late, this process stood still and has not heard what was said: nobody is blamed for it."""


class Registry:
    """``async with Registry(...)`` listens from then on; the view is complete after one beat of everybody (2 s).

    Nothing is stored of who is there: a restarted hub knows again what lives as soon as it beats. Silence counts only
    while this process could hear.
    """

    def __init__(
        self, scope: Scope, agent: Agent, settings: HubSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tenant = agent.tenant
        self.definitions = Definitions(scope, max_bytes=settings.limits.definition_bytes)
        self.spawned = SpawnedBoxes(scope)
        self.spawner = Spawner(agent, self, self.spawned, self.definitions)
        self.warmth = Warmth(agent, self.find_nodes)
        self._agent = agent
        self._clock = clock
        self._silent_s = settings.silent_s
        self._beats_s = BEATS * settings.heartbeat_s
        self._presence = Presence(settings.silent_s)
        self._changes = Changes(settings.limits.changes_waiting)
        self._node_moved = asyncio.Condition()
        self._listening_since = clock()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._agent.connection.on_reconnect.append(self._heard_nothing)
        self._subscription = await self._agent.on_signal("presence.*", self._arrived)
        self._heard_nothing()
        await self._tasks.__aenter__()
        self._checking = self._tasks.create_task(self._check(), name=f"registry {self.tenant}")
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._checking.cancel()
        self._changes.close()
        await self._tasks.__aexit__(None, None, None)
        await self._subscription.aclose()
        self._agent.connection.on_reconnect.remove(self._heard_nothing)

    # --- who is there ----------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Heard the bus for long enough to say of somebody that he is *not* there."""
        return self._agent.connection.connected and self._clock() - self._listening_since > self._silent_s

    def boxes(self) -> list[LiveBox]:
        """Every instance of every address."""
        return self._presence.boxes()

    def find_box(self, address: str) -> LiveBox | None:
        """The newest instance at ``address``; ``None`` when it is gone, or never was."""
        return self._presence.get(address)

    def instances(self, address: str) -> list[LiveBox]:
        return self._presence.instances(address)

    def find_nodes(self) -> Sequence[NodeInfo]:
        """Every node that is not gone."""
        return self._presence.nodes()

    async def find_definition(self, name: str) -> BoxDefinition | None:
        """The newest registered Box of that name."""
        return await self.definitions.get(name)

    def complete_in_s(self) -> float:
        """How long until everybody who lives has had the time to say so; 0 when that is over."""
        return max(0.0, self._listening_since + self._beats_s - self._clock())

    # --- what changes ----------------------------------------------------------------------------------------------

    def feed(self) -> Feed:
        """Changes from now: ``with registry.feed() as feed: async for change in feed``; ``None``: some are missed."""
        return self._changes.feed()

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``callback`` with every change, at once; it must be quick. Gives a function that ends it."""
        return self._changes.subscribe(callback)

    async def nodes_changed(self, check: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``check`` holds, looked at whenever a node changes; false after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s), self._node_moved:
                await self._node_moved.wait_for(check)
        except TimeoutError:
            return False
        return True

    def saw(self, box: LiveBox) -> None:
        """A node said itself how this box is, ahead of its heartbeat."""
        if box.state in ("stopped", "failed"):
            self._changes.announce(self._presence.goodbye(box.id, box.instance, self._clock()))
        else:
            self._changes.announce(self._presence.beat(box, self._clock()))

    # --- the bus ---------------------------------------------------------------------------------------------------

    async def _arrived(self, signal: Signal) -> None:
        try:
            changes = self._apply(signal)
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            _log.warning("presence.malformed", tenant=self.tenant, sender=signal.sender, error=str(error))
            return
        await self._announce(changes)

    def _apply(self, signal: Signal) -> list[Change]:
        """Believed is what the sender may say: an agent speaks for itself, a node for itself and what is on it."""
        now, sender, data = self._clock(), signal.sender, signal.data
        match signal.name:
            case "presence.beat":
                box = LiveBox.model_validate(data)
                if box.id == sender and (box.kind == "system") == sender.startswith("_"):
                    return self._presence.beat(box, now)
            case "presence.node":
                node = NodeInfo.model_validate(data["node"])
                if node_address(node.name) == sender:
                    boxes = [LiveBox.model_validate(row) for row in data.get("boxes", ())]
                    return self._presence.node_beat(node, [b for b in boxes if b.node == node.name], now)
            case "presence.goodbye":
                known = self._presence.get(data["id"])
                if data["id"] == sender or (known and known.node and node_address(known.node) == sender):
                    return self._presence.goodbye(data["id"], data.get("instance", ""), now)
            case _:
                return []  # of a newer version
        _log.warning("presence.refused", tenant=self.tenant, sender=sender, signal=signal.name)
        return []

    async def _announce(self, changes: list[Change]) -> None:
        if not changes:
            return
        self._changes.announce(changes)
        if any(change.node is not None for change in changes):
            async with self._node_moved:
                self._node_moved.notify_all()

    async def _check(self) -> None:
        before = self._clock()
        while True:
            await asyncio.sleep(CHECK_S)
            now = self._clock()
            if not self._agent.connection.connected or now - before > STALLED_S:
                self._heard_nothing()
            else:
                await self._announce(self._presence.expire(now))
            before = now

    def _heard_nothing(self) -> None:
        """Whatever was said lately may not have reached us: everybody's silence counts from now."""
        self._listening_since = self._clock()
        self._presence.touch(self._listening_since)
