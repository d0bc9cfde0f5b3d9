"""The live view of one tenant. Pure: it is told what arrived and at what time, and says what changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from schemas.box import LiveBox
from schemas.node import NodeInfo, node_address

Kind = Literal["box", "box_gone", "node", "node_gone"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was; ``box`` or ``node`` is the newest record of it."""

    kind: Kind
    box: LiveBox | None = None
    node: NodeInfo | None = None


@dataclass(slots=True)
class _BoxSeen:
    record: LiveBox
    at: float  # of the view's own clock: peers' clocks are not trusted


@dataclass(slots=True)
class _NodeSeen:
    record: NodeInfo
    at: float
    boxes: set[tuple[str, str]] = field(default_factory=set)


class Presence:
    """Boxes by (address, instance), nodes by name; each with the time it was last heard.

    Several processes may answer at one address: instances are kept apart, and each comes and goes by itself. A box on a
    node lives by its node's beats, and is gone when the node no longer lists it. ``now`` is any monotonic clock.
    """

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._boxes: dict[tuple[str, str], _BoxSeen] = {}
        self._nodes: dict[str, _NodeSeen] = {}

    # --- what arrives --------------------------------------------------------------------------------------------

    def beat(self, box: LiveBox, now: float) -> list[Change]:
        """An attached agent, or a box that speaks for itself, said it lives."""
        key = (box.id, box.instance)
        before = self._boxes.get(key)
        self._boxes[key] = _BoxSeen(box, now)
        return [] if before is not None and _same_box(before.record, box) else [Change("box", box=box)]

    def node_beat(self, node: NodeInfo, boxes: Iterable[LiveBox], now: float) -> list[Change]:
        """A node said how it is and which boxes are on it: those it no longer lists have ended."""
        changes: list[Change] = []
        before = self._nodes.get(node.name)
        listed = {(box.id, box.instance): box for box in boxes}
        for key in (before.boxes if before else set()) - listed.keys():
            changes += self._end(key, "the node no longer runs it")
        for box in listed.values():
            changes += self.beat(box, now)
        if before is None or not _same_node(before.record, node):
            changes.append(Change("node", node=node))
        self._nodes[node.name] = _NodeSeen(node, now, set(listed))
        return changes

    def goodbye(self, id: str, instance: str, now: float) -> list[Change]:
        """Somebody left in order: a box, an agent, or (by its address) a node, with everything on it."""
        for name, seen in self._nodes.items():
            if node_address(name) == id and instance in ("", seen.record.instance):
                return self._end_node(name, "said goodbye")
        ended = [key for key in self._boxes if key[0] == id and instance in ("", key[1])]
        return [change for key in ended for change in self._end(key, "said goodbye")]

    def expire(self, now: float) -> list[Change]:
        """Whoever has been silent for ``silent_s`` is gone."""
        changes: list[Change] = []
        reason = f"silent for {self._silent_s:g} s"
        for name in [n for n, seen in self._nodes.items() if now - seen.at > self._silent_s]:
            changes += self._end_node(name, reason)
        for key in [k for k, seen in self._boxes.items() if now - seen.at > self._silent_s]:
            changes += self._end(key, reason)
        return changes

    def touch(self, now: float) -> None:
        """Count everybody's silence from ``now``: the listener was cut off himself."""
        for box in self._boxes.values():
            box.at = now
        for node in self._nodes.values():
            node.at = now

    # --- what is known -------------------------------------------------------------------------------------------

    def boxes(self) -> list[LiveBox]:
        """All instances, by address, then by start."""
        records = (seen.record for seen in self._boxes.values())
        return sorted(records, key=lambda box: (box.id, box.started_at, box.instance))

    def nodes(self) -> list[NodeInfo]:
        return sorted((seen.record for seen in self._nodes.values()), key=lambda node: node.name)

    def node(self, name: str) -> NodeInfo | None:
        seen = self._nodes.get(name)
        return seen.record if seen else None

    def instances(self, id: str) -> list[LiveBox]:
        """Every process that answers at this address, oldest first. O(boxes)."""
        found = [seen.record for key, seen in self._boxes.items() if key[0] == id]
        return sorted(found, key=lambda box: box.started_at)

    def get(self, id: str) -> LiveBox | None:
        """The newest instance at an address."""
        found = self.instances(id)
        return found[-1] if found else None

    # -------------------------------------------------------------------------------------------------------------

    def _end(self, key: tuple[str, str], reason: str) -> list[Change]:
        seen = self._boxes.pop(key, None)
        if seen is None:
            return []
        for node in self._nodes.values():
            node.boxes.discard(key)
        state = "failed" if seen.record.state == "failed" else "stopped"
        update = {"state": state, "reason": seen.record.reason or reason}
        return [Change("box_gone", box=seen.record.model_copy(update=update))]

    def _end_node(self, name: str, reason: str) -> list[Change]:
        seen = self._nodes.pop(name)
        changes = [c for key in list(seen.boxes) for c in self._end(key, f"its node {name!r} is gone: {reason}")]
        return [*changes, Change("node_gone", node=seen.record.model_copy(update={"state": "gone"}))]


def _same_box(a: LiveBox, b: LiveBox) -> bool:
    """Nothing but the time of the beat differs."""
    return a.model_copy(update={"heartbeat_at": b.heartbeat_at}) == b


def _same_node(a: NodeInfo, b: NodeInfo) -> bool:
    return a.model_copy(update={"heartbeat_at": b.heartbeat_at}) == b
