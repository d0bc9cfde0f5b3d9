"""A node: one machine that runs boxes, what it can do and how full it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.box import Branching, Isolation
from schemas.model import Model, Value


class DriverInfo(Value):
    """What a driver declares. ``available`` false comes with the reason and the cure."""

    name: str
    isolation: Isolation
    branching: Branching
    available: bool = True
    reason: str = ""
    warm: bool = False  # boxes are forked from a template that is set up: `setup` ran once for all of them
    loopback: bool = False  # it gives a box single ports of the machine's loopback
    mounts: bool = False  # it can show a box directories of the machine, read-only


class DriverReport(Value):
    """A driver as `examine` found it on one machine."""

    info: DriverInfo
    offered: bool  # a node with these settings uses it, when it works
    probe_s: float  # finding out took so long


class MachineReport(Value):
    """What a machine can do for boxes, and why not more."""

    platform: str
    python: str
    cpus: int
    memory_bytes: int
    limits: list[str] = Field(default_factory=list)  # of boxes that the kernel holds: "memory", "pids", "cpu"
    limits_reason: str = ""  # why not all of them
    drivers: list[DriverReport]  # in the order in which a node prefers them, those it does not use last
    default: str = ""  # makes the boxes that ask for nothing; empty: none can be made


class NodeInfo(Model):
    """What a node says of itself with every heartbeat."""

    name: str
    instance: str = ""
    state: Literal["ready", "draining", "gone"] = "ready"
    labels: dict[str, str] = Field(default_factory=dict)
    drivers: list[DriverInfo] = Field(default_factory=list)
    cpus: int = 1
    memory_bytes: int = 0
    max_boxes: int = 0
    max_attempts: int = 0  # attempts it runs at once
    boxes: int = 0
    attempts: int = 0
    templates: list[str] = Field(default_factory=list)  # fingerprints it holds warm
    started_at: float = 0.0
    heartbeat_at: float = 0.0


def node_address(name: str) -> str:
    """The bus address of a node's own skills."""
    return f"_node-{name}"
