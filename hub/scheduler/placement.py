"""Filter, then score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hub.scheduler.demand import Demand
from hub.scheduler.filters import FILTERS, usable_drivers
from hub.scheduler.scoring import score
from schemas.errors import NoCapacity
from schemas.node import NodeInfo


@dataclass(frozen=True, slots=True)
class Placement:
    """The node to use, the driver it prefers of those that satisfy the demand, and why not the other nodes."""

    node: NodeInfo
    driver: str
    score: float
    reasons: dict[str, str] = field(default_factory=dict)


def place(demand: Demand, nodes: Iterable[NodeInfo]) -> Placement | NoCapacity:
    """The best node for ``demand``; equal scores go by name, so every replica of the hub decides alike.

    `NoCapacity` is returned, not raised: whoever waits stores its text as the reason, whoever cannot raises it.
    """
    reasons: dict[str, str] = {}
    able: list[NodeInfo] = []
    for node in nodes:
        against = next((r for f in FILTERS if (r := f(demand, node)) is not None), None)
        if against is None:
            able.append(node)
        else:
            reasons[node.name] = against
    if not able:
        told = "; ".join(f"{name} {reason}" for name, reason in sorted(reasons.items()))
        return NoCapacity(f"{demand.what}: {told or 'there is no node; start one with `boxhub node`'}", reasons=reasons)
    scores = {node.name: score(demand, node) for node in able}
    best = min(able, key=lambda n: (-scores[n.name], n.name))
    reasons |= {
        n.name: f"scores {scores[n.name]:.2f}, {best.name} {scores[best.name]:.2f}" for n in able if n is not best
    }
    return Placement(best, usable_drivers(demand, best)[0].name, scores[best.name], reasons)
