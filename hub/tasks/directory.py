"""What the engine asks of the registry: who is there now. Answers come from memory, so the hot path never waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.box import BoxDefinition, LiveBox
from schemas.node import NodeInfo, node_address


class Directory(Protocol):
    """`hub.registry.Registry` is one; it learns from heartbeats and forgets who is silent."""

    @property
    def settled(self) -> bool:
        """Heard the bus for long enough to say of somebody that it is *not* there."""

    def instances(self, address: str) -> Sequence[LiveBox]:
        """Every process that answers at ``address``, oldest first; empty when it is gone, or never was."""

    def find_nodes(self) -> Sequence[NodeInfo]:
        """Every node that is not gone."""

    async def find_definition(self, name: str) -> BoxDefinition | None:
        """The newest registered Box of that name."""


def runner_instances(directory: Directory, runner: str) -> set[str]:
    """The instances that live at a runner's address, be it an agent's or a node's."""
    nodes = {node.instance for node in directory.find_nodes() if node_address(node.name) == runner}
    return nodes | {box.instance for box in directory.instances(runner)}
