"""What the page shows of the store and the registry: read again when the bus hints at a change, and in sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from hub.dashboard import rows
from hub.dashboard.hints import Hints
from hub.dashboard.limits import FeedLimits
from hub.dashboard.observed import Hub
from hub.dashboard.table import Row, Table
from schemas.errors import BoxhubError, BranchNotFound, TaskNotFound
from schemas.task import TaskState

_log = structlog.get_logger(__name__)

_UNFINISHED: Final[tuple[TaskState, ...]] = ("working", "submitted", "input_required")


class State:
    """Tables of one tenant. Reading never raises what the hub's services raise: it is kept in ``trouble``."""

    def __init__(self, hub: Hub, tenant: str, limits: FeedLimits) -> None:
        self._tenant = tenant
        self._services = hub.services(tenant)
        self._limits = limits
        self._boxes = Table(key=rows.box_key, signature=rows.box_signature, row=rows.box_row)
        self._nodes = Table(key=lambda n: n.name, signature=rows.node_signature, row=rows.node_row)
        self._tasks = Table(key=lambda t: t.id, signature=rows.task_signature, row=rows.task_row, age=rows.task_age)
        self._branches = Table(key=lambda b: b.id, signature=rows.branch_signature, row=rows.branch_row)
        self._workspaces = Table(key=lambda w: w.id, signature=rows.workspace_signature, row=rows.workspace_row)
        self._tables: dict[str, Table[Any]] = {
            "boxes": self._boxes,
            "nodes": self._nodes,
            "tasks": self._tasks,
            "branches": self._branches,
            "workspaces": self._workspaces,
        }
        self.hints = Hints()
        self.trouble = ""

    # --- reading --------------------------------------------------------------------------------------------------

    async def read_hinted(self) -> None:
        """Read what was hinted at since the last call."""
        wanted = self.hints.take()
        async with self._reading():
            if "boxes" in wanted.nouns:
                await self._read_boxes()
            if "tasks" in wanted.nouns or len(wanted.tasks) > self._limits.single_reads:
                await self._read_tasks()
            else:
                for task in wanted.tasks:
                    await self._read_task(task)
            if "branches" in wanted.nouns or len(wanted.branches) > self._limits.single_reads:
                await self._read_branches()
            else:
                for branch in wanted.branches:
                    await self._read_branch(branch)

    async def read_all(self) -> None:
        """Read everything."""
        self.hints.take()
        async with self._reading():
            await self._read_boxes()
            await self._read_tasks()
            await self._read_branches()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.read_timeout_s):
                yield
        except (BoxhubError, TimeoutError) as error:
            trouble = str(error) or "the hub's services do not answer"
            if trouble != self.trouble:
                _log.warning("dashboard.read_failed", tenant=self._tenant, error=trouble)
            self.trouble = trouble
        else:
            self.trouble = ""

    async def _read_boxes(self) -> None:
        registry = self._services.registry
        with self._boxes.replacing() as boxes, self._nodes.replacing() as nodes:
            boxes += (await registry.boxes())[: self._limits.boxes]
            nodes += await registry.nodes()

    async def _read_tasks(self) -> None:
        """The newest, and all that have not ended however old they are."""
        read = self._services.tasks.task_list
        with self._tasks.replacing() as tasks:
            for state in (None, *_UNFINISHED):
                tasks += await read(state=state, limit=self._limits.tasks)

    async def _read_task(self, id: str) -> None:
        try:
            self._tasks.put(await self._services.tasks.task_get(id))
        except TaskNotFound:
            self._tasks.drop(id)

    async def _read_branches(self) -> None:
        workspaces = self._services.workspaces
        with self._workspaces.replacing() as found, self._branches.replacing() as branches:
            found += await workspaces.workspace_list()
            branches += await workspaces.branch_list(limit=self._limits.branches)

    async def _read_branch(self, id: str) -> None:
        try:
            self._branches.put(await self._services.workspaces.branch_get(id))
        except BranchNotFound:
            self._branches.drop(id)

    # --- frames ---------------------------------------------------------------------------------------------------

    def take_changes(self) -> dict[str, dict[str, Row | None]]:
        """Changed rows by table; tables without a change are left out."""
        changes = {name: table.take_changes() for name, table in self._tables.items()}
        return {name: changed for name, changed in changes.items() if changed}

    def everything(self) -> dict[str, list[Row]]:
        return {name: list(table.rows.values()) for name, table in self._tables.items()}
