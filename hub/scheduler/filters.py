"""One question to a node each: ``None`` when it can take the box, else the reason, with the cure where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hub.scheduler.demand import BRANCHING_ORDER, Demand
from schemas.box import ISOLATION_ORDER
from schemas.node import DriverInfo, NodeInfo

Filter = Callable[[Demand, NodeInfo], str | None]


def wanted_node(demand: Demand, node: NodeInfo) -> str | None:
    return f"only node {demand.node!r} is wanted" if demand.node and demand.node != node.name else None


def is_ready(demand: Demand, node: NodeInfo) -> str | None:
    return None if node.state == "ready" else f"is {node.state}"


def has_labels(demand: Demand, node: NodeInfo) -> str | None:
    missing = [f"{k}={v}" for k, v in demand.labels.items() if node.labels.get(k) != v]
    return f"lacks the label {', '.join(missing)}" if missing else None


def has_driver(demand: Demand, node: NodeInfo) -> str | None:
    if usable_drivers(demand, node):
        return None
    if not node.drivers:
        return "has no driver"
    return "; ".join(f"driver {d.name!r} {_against(demand, d)}" for d in node.drivers)


def is_large_enough(demand: Demand, node: NodeInfo) -> str | None:
    if demand.cpus is not None and demand.cpus > node.cpus:
        return f"has {node.cpus} CPUs, {demand.cpus:g} are wanted"
    if demand.memory_bytes is not None and 0 < node.memory_bytes < demand.memory_bytes:
        return f"has {node.memory_bytes} bytes of memory, {demand.memory_bytes} are wanted"
    return None


def has_room(demand: Demand, node: NodeInfo) -> str | None:
    """A maximum of 0 is one that the node did not state."""
    if 0 < node.max_boxes <= node.boxes:
        return f"is full: {node.boxes} of {node.max_boxes} boxes"
    if demand.attempt and 0 < node.max_attempts <= node.attempts:
        return f"is full: {node.attempts} of {node.max_attempts} attempts"
    return None


FILTERS: Final[tuple[Filter, ...]] = (wanted_node, is_ready, has_labels, has_driver, is_large_enough, has_room)
"""In this order; the first reason is the one told, so what waiting cannot mend comes before what it can."""


def usable_drivers(demand: Demand, node: NodeInfo) -> list[DriverInfo]:
    """The drivers of ``node`` that satisfy ``demand``, in the order in which the node prefers them."""
    return [d for d in node.drivers if _against(demand, d) is None]


def _against(demand: Demand, driver: DriverInfo) -> str | None:
    if demand.driver and demand.driver != driver.name:
        return f"is not {demand.driver!r}"
    if not driver.available:
        return f"is not available: {driver.reason}"
    if ISOLATION_ORDER.index(driver.isolation) < ISOLATION_ORDER.index(demand.isolation):
        return f"isolates by {driver.isolation!r}, at least {demand.isolation!r} is wanted"
    if BRANCHING_ORDER.index(driver.branching) < BRANCHING_ORDER.index(demand.branching):
        return f"branches by {driver.branching!r}, at least {demand.branching!r} is wanted"
    if demand.loopback and not driver.loopback:
        return "cannot forward ports of its machine's loopback into a box"
    if demand.mounts and not driver.mounts:
        return "cannot mount directories of its machine into a box"
    return None
