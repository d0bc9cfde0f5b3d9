"""From what a task names (an address, or a registered Box) to the runner that takes its next attempt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub.scheduler import Demand, Placement, place
from hub.tasks.backlog import Group
from hub.tasks.directory import Directory
from hub.tasks.settings import TaskSettings
from hub.tasks.slots import Slots
from schemas.box import BoxDefinition, LiveBox
from schemas.node import NodeInfo, node_address


@dataclass(frozen=True, slots=True)
class Route:
    """Who runs it. ``box`` is the live box it runs in, empty when the node makes one from ``definition``."""

    runner: str
    box: str
    definition: BoxDefinition | None = None


class Targets:
    """Pure decisions on what the directory knows and the slots count."""

    def __init__(self, directory: Directory, slots: Slots, settings: TaskSettings) -> None:
        self._directory = directory
        self._slots = slots
        self._settings = settings
        self._definitions: dict[str, BoxDefinition | None] = {}
        self._learned: dict[str, tuple[int, float]] = {}

    async def prepare(self, groups: Iterable[Group]) -> None:
        """Load the definitions that `route` needs for ``groups``."""
        boxes = {group.box for group in groups}
        self._definitions = {
            box: await self._directory.find_definition(box) for box in boxes if not self._directory.instances(box)
        }

    def route(self, group: Group, now: float) -> Route | str:
        """Where the next task of ``group`` goes, or why it must wait. Call `prepare` before."""
        instances = self._directory.instances(group.box)
        if instances:
            return self._to_live(instances, now)
        definition = self._definitions.get(group.box)
        if definition is None:
            return f"nobody is connected as {group.box!r}, and no Box of that name is registered"
        demand = Demand.of_task(group.box, group.isolation, group.branch, definition)
        found = place(demand, [self._by_our_books(node, now) for node in self._directory.find_nodes()])
        if not isinstance(found, Placement):
            return str(found)
        return Route(node_address(found.node.name), "", definition)

    def to_address(self, box: str, now: float) -> Route | None:
        """The route when somebody at the address ``box`` can take a task this moment."""
        instances = self._directory.instances(box)
        route = self._to_live(instances, now) if instances else None
        return route if isinstance(route, Route) else None

    def learn(self, runner: str, until: float) -> None:
        """It refused as overloaded: until then it gets no more than it holds now."""
        self._learned[runner] = (self._slots.count(runner), until)

    def _to_live(self, instances: Sequence[LiveBox], now: float) -> Route | str:
        live = instances[-1]
        ready = [box for box in instances if box.state == "ready"]
        if not ready:
            return f"{live.id!r} is {live.state}{f': {live.reason}' if live.reason else ''}"
        if live.kind == "attached":
            runner, limit = live.id, sum(box.max_attempts or self._settings.agent_attempts for box in ready)
        else:
            node = next((n for n in self._directory.find_nodes() if n.name == live.node), None)
            if node is None:
                return f"node {live.node!r}, where {live.id!r} lives, is gone"
            runner, limit = node_address(live.node), node.max_attempts or self._settings.agent_attempts
        limit = min(limit, self._limit(runner, now))
        held = self._slots.count(runner)
        if held >= limit:
            return f"{runner!r} is busy: {held} of {limit} attempts"
        return Route(runner, live.id)

    def _by_our_books(self, node: NodeInfo, now: float) -> NodeInfo:
        """The node as we count it: every attempt on it was given by a hub, and its heartbeat is seconds old."""
        runner = node_address(node.name)
        attempts = self._slots.count(runner)
        boxes = max(0, node.boxes - node.attempts) + attempts
        limit = node.max_attempts
        if self._limit(runner, now) <= attempts:  # it said that it is full
            attempts = limit = max(1, attempts)
        return node.model_copy(update={"attempts": attempts, "boxes": boxes, "max_attempts": limit})

    def _limit(self, runner: str, now: float) -> int:
        limit, until = self._learned.get(runner, (_UNLIMITED, 0.0))
        if now < until:
            return limit
        self._learned.pop(runner, None)
        return _UNLIMITED


_UNLIMITED = 1 << 30
