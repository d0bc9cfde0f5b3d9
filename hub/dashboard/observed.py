"""What the feed reads of the hub: its services, as protocols no wider than needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.box import LiveBox
from schemas.branch import Branch, Workspace
from schemas.node import NodeInfo
from schemas.task import TaskRecord, TaskState


class Registry(Protocol):
    async def boxes(self) -> Sequence[LiveBox]: ...

    async def nodes(self) -> Sequence[NodeInfo]: ...


class Tasks(Protocol):
    async def task_get(self, id: str) -> TaskRecord:
        """Raises `TaskNotFound`."""

    async def task_list(self, *, state: TaskState | None, limit: int) -> Sequence[TaskRecord]:
        """Newest first."""


class Workspaces(Protocol):
    async def workspace_list(self) -> Sequence[Workspace]: ...

    async def branch_get(self, id: str) -> Branch:
        """Raises `BranchNotFound`."""

    async def branch_list(self, *, limit: int) -> Sequence[Branch]:
        """Newest first."""


class Services(Protocol):
    """`hub.services.Services` of one tenant."""

    @property
    def registry(self) -> Registry: ...

    @property
    def tasks(self) -> Tasks: ...

    @property
    def workspaces(self) -> Workspaces: ...


class Settings(Protocol):
    @property
    def nats_url(self) -> str: ...

    @property
    def tenants(self) -> tuple[str, ...]: ...


class Hub(Protocol):
    """`hub.app.Hub`."""

    @property
    def settings(self) -> Settings: ...

    def services(self, tenant: str) -> Services: ...
