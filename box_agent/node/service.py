"""The composition root of a node: ``async with Node(settings, agent_settings)``."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final, Self

import structlog
from pydantic import Field

from box_agent.agent import Agent
from box_agent.box.context import Context
from box_agent.bus.connection import Connection
from box_agent.bus.scope import Scope
from box_agent.config import AgentSettings
from box_agent.discovery import running_hub
from box_agent.files.cache import BlobCache
from box_agent.node.attempts import Attempts
from box_agent.node.beats import Beats
from box_agent.node.blobs import NodeBlobs
from box_agent.node.boxes import Boxes
from box_agent.node.config import NodeSettings, memory_bytes, usable_cpus
from box_agent.node.drivers import Drivers
from box_agent.node.home import NodeHome
from box_agent.node.mounts import Mounts
from box_agent.node.warmth import Warmth
from box_agent.runner import Runner
from schemas.box import BoxDefinition, LiveBox, SpawnRequest
from schemas.errors import BusUnavailable, PermissionDenied
from schemas.model import timestamp
from schemas.node import NodeInfo, node_address
from schemas.subjects import HUB, token

_log = structlog.get_logger("boxhub.node")
_CALLS: Final = 1024
_PRUNE_S: Final = 600.0


class Node:
    """Entered, it serves: swept, on the bus, heard by the hub. Leaving drains it: nothing new, boxes end, goodbye.

    Raises `BusUnavailable`, `Unauthenticated`, and `AlreadyExists` when another node runs in its home.
    """

    def __init__(self, settings: NodeSettings, agent_settings: AgentSettings) -> None:
        self.settings = settings
        self._agent_settings = agent_settings.model_copy(update={"concurrency": _CALLS, "beat_s": settings.beat_s})
        self._started_at = timestamp()
        self._exits = AsyncExitStack()
        self.agent: Agent
        self.boxes: Boxes
        self._drivers: Drivers
        self._runner: Runner
        self._beats: Beats

    async def __aenter__(self) -> Self:
        settings, exits = self.settings, AsyncExitStack()
        async with exits:
            home = await exits.enter_async_context(NodeHome(settings.directory(self._agent_settings)))
            drivers = Drivers.of_this_machine(home, settings, [self._agent_settings.home])
            self._drivers = await exits.enter_async_context(drivers)
            await home.clear_boxes()
            cache = BlobCache(home.blobs)
            self.agent = await exits.enter_async_context(await self._join())
            blobs = NodeBlobs(cache, self.agent.blobs)
            exits.push_async_callback(blobs.aclose)
            mounts = Mounts(blobs, self.agent.blobs, self.agent.workspaces)
            self._beats = Beats(self.agent, self.info, self._records, settings.beat_s)
            self.boxes = Boxes(self.agent, settings, home, self._drivers, blobs, mounts, self._beats.changed)
            attempts = Attempts(self.boxes, settings.spawn_timeout_s)
            self._runner = Runner(
                self.agent, attempts.execute, limit=settings.max_attempts, admit=attempts.admit
            )  # fmt: skip
            self.agent.serve_own(self._box_spawn)
            self.agent.serve_own(self._box_stop)
            self._warmth = Warmth(settings.name, self._drivers, blobs)
            for skill in (self._box_build, self._box_explain, self._cache_list, self._cache_prune):
                self.agent.serve_own(skill)
            await self.agent.begin(beats=False, runs_tasks=False)
            beating = Scope()
            exits.push_async_callback(beating.aclose)
            beating.spawn(self._beats.run(), "beats")
            beating.spawn(self._prune(cache), "prune")
            exits.push_async_callback(self._drain)
            self._exits = exits.pop_all()
        _log.info("node_ready", node=settings.name, drivers=[driver.name for driver in self._drivers.infos])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        _log.info("node_stopping", node=self.settings.name, boxes=len(self.boxes), attempts=self._runner.attempts)
        await self._exits.aclose()

    def info(self) -> NodeInfo:
        """What the node says of itself."""
        return NodeInfo(
            name=self.settings.name,
            instance=self.agent.instance,
            state="draining" if self.boxes.draining else "ready",
            labels=self.settings.labels,
            drivers=self._drivers.infos,
            cpus=usable_cpus(),
            memory_bytes=memory_bytes(),
            max_boxes=self.settings.max_boxes,
            max_attempts=self.settings.max_attempts,
            boxes=len(self.boxes),
            attempts=self._runner.attempts,
            templates=self._drivers.templates,
            started_at=self._started_at,
            heartbeat_at=timestamp(),
        )

    def _records(self) -> list[LiveBox]:
        return self.boxes.records()

    async def _join(self) -> Agent:
        """Connected; it takes calls when all that answers them is there."""
        settings = self._agent_settings
        found = None if settings.nats_url else running_hub(settings.connection_file)
        url = settings.nats_url or (found.url if found else "")
        if not url:
            raise BusUnavailable("no bus is known; set BOXHUB_NATS_URL, or start a hub with `boxhub up`")
        address = node_address(self.settings.name)
        tenant = token((found.tenant if found else "") or settings.tenant)
        connection = await Connection.open(url, address, settings)
        return Agent(address, tenant, connection, kind="system", description="a node")

    async def _prune(self, cache: BlobCache) -> None:
        """Keep the cache within its bounds, until cancelled."""
        while True:
            await asyncio.to_thread(cache.prune, self.settings.cache_bytes)
            await asyncio.sleep(_PRUNE_S)

    async def _drain(self) -> None:
        self.boxes.draining = True
        self._beats.beat()
        await self._runner.wait_idle(self.settings.drain_s)
        await self._runner.aclose()
        await self.boxes.aclose()
        self._beats.goodbye()

    # --- what the hub calls --------------------------------------------------------------------------------------

    async def _box_spawn(self, request: SpawnRequest, context: Context) -> dict[str, Any]:
        """See `Boxes.spawn`."""
        _only_hub(context)
        return (await self.boxes.spawn(request)).wire()

    async def _box_stop(
        self, id: str, context: Context, reason: Annotated[str, Field(max_length=1000)] = ""
    ) -> dict[str, Any]:
        """See `Boxes.stop`."""
        _only_hub(context)
        return (await self.boxes.stop(id, reason)).wire()

    async def _box_build(
        self, definition: BoxDefinition, seconds: Annotated[float, Field(gt=0)], context: Context
    ) -> dict[str, Any]:
        """See `Warmth.build`."""
        _only_hub(context)
        return (await self._warmth.build(definition, seconds)).wire()

    async def _box_explain(self, definition: BoxDefinition, context: Context) -> dict[str, Any]:
        """See `Warmth.explain`."""
        _only_hub(context)
        return (await self._warmth.explain(definition)).wire()

    async def _cache_list(self, context: Context) -> list[dict[str, Any]]:
        """See `Warmth.entries`."""
        _only_hub(context)
        return [entry.wire() for entry in await self._warmth.entries()]

    async def _cache_prune(self, unused_s: Annotated[float, Field(ge=0)], context: Context) -> list[dict[str, Any]]:
        """See `Warmth.prune`."""
        _only_hub(context)
        return [entry.wire() for entry in await self._warmth.prune(unused_s)]


def _only_hub(context: Context) -> None:
    if context.caller != HUB:
        raise PermissionDenied(f"{context.caller!r} may not direct a node; ask the hub", caller=context.caller)
