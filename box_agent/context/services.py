"""The hub's services as attributes of an agent, each made when first used."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from box_agent.context.blobs import BlobClient
from box_agent.context.boxes import BoxClient
from box_agent.context.conversations import ConversationClient
from box_agent.context.hub import Caller, Hub
from box_agent.context.keyvalues import KeyValueClient
from box_agent.context.tasks import TaskClient
from box_agent.context.workspaces import WorkspaceClient


class HubServices(Caller, Protocol):
    """What a caller of the hub may use."""

    @cached_property
    def _hub(self) -> Hub:
        return Hub(self)

    @cached_property
    def blobs(self) -> BlobClient:
        return BlobClient(self._hub)

    @cached_property
    def boxes(self) -> BoxClient:
        return BoxClient(self._hub)

    @cached_property
    def conversations(self) -> ConversationClient:
        return ConversationClient(self._hub)

    @cached_property
    def keyvalues(self) -> KeyValueClient:
        return KeyValueClient(self._hub)

    @cached_property
    def tasks(self) -> TaskClient:
        return TaskClient(self._hub)

    @cached_property
    def workspaces(self) -> WorkspaceClient:
        return WorkspaceClient(self._hub)
