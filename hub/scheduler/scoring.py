"""Which of the nodes that can is the best: a sum of weighted numbers in [0, 1]."""

from __future__ import annotations

from typing import Final

from hub.scheduler.demand import Demand
from schemas.node import NodeInfo

WARM: Final = 1.0
"""A warm template saves the making of the environment: seconds, where a busier machine costs milliseconds; that of a
prefix saves a part of it …"""
FREE: Final = 1.5
"""… but a nearly full machine is slower than a cold start, so spreading weighs more once loads differ much."""


def score(demand: Demand, node: NodeInfo) -> float:
    there = [place for place, fingerprint in enumerate(demand.fingerprints, 1) if fingerprint in node.templates]
    warm = there[-1] / len(demand.fingerprints) if there else 0.0
    return WARM * warm + FREE * (1.0 - load(node))


def load(node: NodeInfo) -> float:
    """How full: the fuller of boxes and attempts. What has no stated maximum is measured against its CPUs."""
    boxes = node.boxes / (node.max_boxes or 32 * max(1, node.cpus))
    attempts = node.attempts / (node.max_attempts or 4 * max(1, node.cpus))
    return min(1.0, max(boxes, attempts))
