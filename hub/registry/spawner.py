"""Makes a live box on a node, once per id, and ends it there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from hub.registry.definitions import Definitions
from hub.registry.spawned import Spawned, SpawnedBoxes, digest_of
from hub.scheduler import Demand, Placement, place
from schemas.box import LiveBox, SpawnRequest
from schemas.errors import (
    AlreadyExists,
    BoxhubError,
    BoxNotFound,
    Conflict,
    DeadlineExceeded,
    DriverUnavailable,
    InvalidInput,
    NoCapacity,
    Unavailable,
)
from schemas.ids import check_name, new_id
from schemas.node import NodeInfo, node_address

_log = structlog.get_logger(__name__)

STOP_TIMEOUT_S: Final = 20.0
_MARGIN_S: Final = 0.5
_MAX_NAME: Final = 40


class Caller(Protocol):
    """What the spawner needs of an agent."""

    async def call(self, box: str, skill: str, /, *, timeout_s: float, **kwargs: object) -> object: ...


class Sight(Protocol):
    """What the spawner needs of the registry."""

    def find_box(self, address: str) -> LiveBox | None: ...

    def find_nodes(self) -> Sequence[NodeInfo]: ...

    def instances(self, address: str) -> Sequence[LiveBox]: ...

    def complete_in_s(self) -> float:
        """How long until everybody who lives has had the time to say so."""

    def saw(self, box: LiveBox) -> None:
        """A node said itself how this box is, ahead of its heartbeat."""

    async def nodes_changed(self, check: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``check`` holds, looked at whenever a node changes; false after ``timeout_s``."""


class Spawner:
    """The live boxes of one tenant.

    The record says on which node a box is made *before* that node is asked, and nodes make a box of one id once. So
    a caller who asks again, through whatever hub, gets the same box, also when the hub that made it died half-way.
    """

    def __init__(self, agent: Caller, sight: Sight, records: SpawnedBoxes, definitions: Definitions) -> None:
        self._agent = agent
        self._sight = sight
        self._records = records
        self._definitions = definitions

    async def spawn(self, request: SpawnRequest) -> LiveBox:
        """A live box that is ready, on the best node; on another one when that node fails.

        Raises `NoCapacity` when no node could take it within ``timeout_s``, `DriverUnavailable`, `DeadlineExceeded`,
        `BlobNotFound` for what the definition needs, `IdempotencyConflict`, `AlreadyExists` when an attached agent
        has the address, and whatever the making of the box failed with.
        """
        await self._definitions.check(request.definition)
        name = request.definition.name
        request = request.model_copy(update={"id": check_name(request.id or new_id(name[:_MAX_NAME]), "box")})
        present = self._sight.find_box(request.id)
        if present is not None and present.kind != "live":
            raise AlreadyExists(
                f"{request.id!r} is the address of an attached agent; choose another id", box=request.id
            )
        deadline = time.time() + request.timeout_s
        wanted = Spawned(
            id=request.id,
            digest=digest_of(request),
            state="starting",
            owner=request.owner,
            owner_instances=tuple(box.instance for box in self._sight.instances(request.owner)),
            deadline_at=deadline,
        )
        return await self._make(await self._records.claim(wanted), request, deadline)

    async def stop(self, id: str, reason: str) -> LiveBox:
        """End a live box; its processes have ended when this returns. Again, it is fine.

        Raises `BoxNotFound` for an id nobody knows, `InvalidInput` for an attached agent, `Unavailable` when its node
        does not answer: then it is not known to have ended.
        """
        record = await self._records.get(id)
        present = self._sight.find_box(id)
        if record is None and present is None:
            raise BoxNotFound(f"no box {id!r}", box=id)
        if present is not None and present.kind != "live":
            raise InvalidInput(f"{id!r} is an attached agent: it ends with its own process", box=id)
        if record is not None and record.state == "ended" and present is None:
            return record.box or LiveBox(id=id, kind="live", state="stopped", reason=record.reason)
        node = (record.node if record and record.state != "ended" else "") or (present.node if present else "")
        box = await self._stop_on(node, id, reason) if node else None
        ended = await self._records.end(id, reason) if record is not None else None
        last = box or (ended.box if ended else None) or present or LiveBox(id=id, kind="live", node=node)
        said = box.reason if box is not None else ""  # the node knows more: whether the branch got its files
        stopped = last.model_copy(update={"state": "stopped", "reason": said or reason or last.reason})
        self._sight.saw(stopped)
        return stopped

    # --- making ----------------------------------------------------------------------------------------------------

    async def _make(self, record: Spawned, request: SpawnRequest, deadline: float) -> LiveBox:
        tried: dict[str, str] = {}
        while True:
            if not record.node:
                record = await self._choose_node(record, request, tried, deadline)
            try:
                box = await self._start_on(record.node, request, deadline)
            except (Unavailable, DriverUnavailable) as error:
                _log.warning("box.spawn_retried", box=record.id, node=record.node, error=str(error))
                tried[record.node] = str(error)
                record = await self._give_up_node(record, deadline)
                if time.time() >= deadline:
                    await self._records.end(record.id, str(error))
                    raise
                continue
            except DeadlineExceeded as error:
                await self._abandon(record, str(error))
                raise
            except BoxhubError as error:
                await self._records.end(record.id, str(error))
                raise
            written = await self._records.put(replace(record, state="ready", box=box))
            if written is None:
                record = await self._reread(record.id)
                continue  # asked for through another hub at the same time, or stopped meanwhile
            self._sight.saw(box)
            _log.info("box.spawned", box=box.id, node=box.node, definition=box.box, owner=box.owner)
            return box

    async def _choose_node(
        self, record: Spawned, request: SpawnRequest, tried: dict[str, str], deadline: float
    ) -> Spawned:
        """The record with a node in it: ours, or the one another caller wrote first."""
        placement = await self._place(request, tried, deadline)
        if isinstance(placement, NoCapacity):
            await self._records.end(record.id, placement.message)
            raise placement
        chosen = await self._records.put(replace(record, node=placement.node.name, state="starting"))
        return chosen or await self._reread(record.id)

    async def _place(self, request: SpawnRequest, tried: dict[str, str], deadline: float) -> Placement | NoCapacity:
        """Where it goes; waits for room until the deadline is near, for nodes until all had time to beat."""
        demand = Demand.of_spawn(request)

        def nodes() -> list[NodeInfo]:
            return [node for node in self._sight.find_nodes() if node.name not in tried]

        def placed() -> bool:
            return isinstance(place(demand, nodes()), Placement)

        def fits_when_empty() -> bool:
            empty = [node.model_copy(update={"boxes": 0, "attempts": 0}) for node in nodes()]
            return isinstance(place(demand, empty), Placement)

        left = max(0.0, deadline - time.time() - _MARGIN_S)
        if not await self._sight.nodes_changed(placed, min(left, self._sight.complete_in_s())) and fits_when_empty():
            await self._sight.nodes_changed(placed, max(0.0, deadline - time.time() - _MARGIN_S))
        found = place(demand, nodes())
        if isinstance(found, NoCapacity) and tried:
            reasons = {**found.details.get("reasons", {}), **tried}
            told = "; ".join(f"{name}: {why}" for name, why in sorted(reasons.items()))
            return NoCapacity(f"{demand.what}: {told}", reasons=reasons)
        return found

    async def _start_on(self, node: str, request: SpawnRequest, deadline: float) -> LiveBox:
        left = deadline - time.time()
        if left <= 0:
            raise DeadlineExceeded(
                f"box {request.id!r} was not ready in time", timeout="spawn", seconds=request.timeout_s
            )
        asked = request.model_copy(update={"timeout_s": left})
        answer = await self._call(node, "_box_spawn", left + _MARGIN_S, request=asked.wire())
        return LiveBox.model_validate(answer)

    async def _give_up_node(self, record: Spawned, deadline: float) -> Spawned:
        """Make sure that node will not make it after all, then free the record for another node."""
        try:
            await self._stop_on(record.node, record.id, "made elsewhere")
        except Unavailable as error:
            # It may make the box once it can be reached again: it is told so by `orphans`, which finds a box whose
            # record names another node.
            _log.warning("box.node_unreachable", box=record.id, node=record.node, error=str(error))
        freed = await self._records.put(replace(record, node="", state="starting", box=None))
        return freed or await self._reread(record.id)

    async def _abandon(self, record: Spawned, reason: str) -> None:
        """Nobody waits any longer: whatever became of it shall not stay."""
        try:
            await self._stop_on(record.node, record.id, reason)
        except Unavailable as error:
            _log.warning("box.node_unreachable", box=record.id, node=record.node, error=str(error))
        await self._records.end(record.id, reason)

    async def _reread(self, id: str) -> Spawned:
        record = await self._records.get(id)
        if record is None or record.state == "ended":
            raise Conflict(f"box {id!r} was stopped while it was being made", box=id)
        return record

    # --- nodes ------------------------------------------------------------------------------------------------------

    async def _stop_on(self, node: str, id: str, reason: str) -> LiveBox | None:
        """What the node says of the box it ended; ``None`` when it knows none, or is itself gone with its boxes."""
        try:
            answer = await self._call(node, "_box_stop", STOP_TIMEOUT_S, id=id, reason=reason)
        except BoxNotFound:
            return None
        return LiveBox.model_validate(answer) if answer else None

    async def _call(self, node: str, skill: str, timeout_s: float, **arguments: object) -> object:
        """Raises `Unavailable` when the node is not there but should be, `BoxNotFound` when it has gone."""
        try:
            return await self._agent.call(node_address(node), skill, timeout_s=timeout_s, **arguments)
        except BoxNotFound as error:
            if error.details.get("box") != node_address(node):
                raise
            if any(known.name == node for known in self._sight.find_nodes()):
                raise Unavailable(f"node {node!r} does not answer", node=node) from error
            if skill == "_box_spawn":
                raise Unavailable(f"node {node!r} is gone", node=node) from error
            raise
