"""What is asked of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from schemas.box import ISOLATION_ORDER, BoxDefinition, Branching, Isolation, SpawnRequest

BRANCHING_ORDER: tuple[Branching, ...] = ("replay", "fs", "live")


@dataclass(frozen=True, slots=True)
class Demand:
    """Minimums; empty means any. ``attempt``: the box is made for one attempt of a task, which takes a slot too."""

    what: str  # for messages: 'box "ocr-7"'
    isolation: Isolation = "none"
    branching: Branching = "replay"
    driver: str = ""
    node: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    fingerprints: tuple[str, ...] = ()  # of the Box and, before it, of the prefixes that it stands on, lowest first
    cpus: float | None = None
    memory_bytes: int | None = None
    loopback: bool = False  # ports of the machine's loopback
    mounts: bool = False  # directories of the machine
    attempt: bool = False

    @classmethod
    def of_spawn(cls, request: SpawnRequest) -> Self:
        definition = request.definition
        return cls(
            what=f"box {request.id or definition.name!r}",
            isolation=stronger(request.isolation, definition.policy.min_isolation),
            branching="fs" if request.branch else "replay",
            driver=request.driver,
            node=request.node,
            fingerprints=_line(definition),
            cpus=definition.resources.cpus,
            memory_bytes=definition.resources.memory_bytes,
            loopback=definition.policy.network == "loopback",
            mounts=bool(definition.policy.mounts),
        )

    @classmethod
    def of_task(cls, box: str, isolation: Isolation, branch: bool, definition: BoxDefinition) -> Self:
        """Of an attempt that gets a fresh box: ``isolation`` and whether it works on a branch are the task's own."""
        return cls(
            what=f"a box for tasks of {box!r}",
            isolation=stronger(isolation, definition.policy.min_isolation),
            branching="fs" if branch else "replay",
            fingerprints=_line(definition),
            cpus=definition.resources.cpus,
            memory_bytes=definition.resources.memory_bytes,
            loopback=definition.policy.network == "loopback",
            mounts=bool(definition.policy.mounts),
            attempt=True,
        )


def _line(definition: BoxDefinition) -> tuple[str, ...]:
    prefixes = tuple(prefix.fingerprint for prefix in definition.prefixes)
    return (*prefixes, definition.fingerprint) if definition.fingerprint else prefixes


def stronger(a: Isolation, b: Isolation) -> Isolation:
    return max(a, b, key=ISOLATION_ORDER.index)
