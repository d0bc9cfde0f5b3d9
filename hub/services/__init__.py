"""What the hub does for others, free of any transport: the bus adapter and the gateway call the same objects.

=================  =============================================================
``principal``      who asks
``bounds``         checks of what comes from outside
``registry``       boxes and nodes: look, register, spawn, stop
``warmth``         what nodes have built and keep
``tasks``          durable tasks
``workspaces``     workspaces and branches
``conversations``  append-only trees of turns
``keyvalues``      small JSON documents with a revision
``blobs``          bytes by hash
=================  =============================================================

A method's name is the name of the skill it becomes on the bus.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub.services.blobs import BlobService
from hub.services.conversations import ConversationService
from hub.services.keyvalues import KeyValueService
from hub.services.principal import OPERATOR, SYSTEM, Principal
from hub.services.registry import RegistryService
from hub.services.tasks import TaskService
from hub.services.warmth import WarmthService
from hub.services.workspaces import WorkspaceService


@dataclass(frozen=True)
class Services:
    """Everything of one tenant, for one asker. Cheap to make; holds no state."""

    tasks: TaskService
    registry: RegistryService
    warmth: WarmthService
    workspaces: WorkspaceService
    conversations: ConversationService
    keyvalues: KeyValueService
    blobs: BlobService


__all__ = ["OPERATOR", "SYSTEM", "Principal", "Services"]
