"""What the page shows of the store and the registry: read again when the bus hints at a change, and in sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import structlog

from hub.dashboard import rows
from hub.dashboard.limits import FeedLimits
from hub.dashboard.observed import Hub
from hub.dashboard.table import Row, Table
from schemas.errors import BoxhubError, TaskNotFound
from schemas.subjects import HUB, Subject
from schemas.task import TaskRecord, TaskState

_log = structlog.get_logger(__name__)

Noun = Literal["boxes", "tasks", "branches"]
_NOUN_OF_SKILL: Final[dict[str, Noun]] = {
    "box": "boxes",
    "task": "tasks",
    "branch": "branches",
    "workspace": "branches",
}
"""The hub's skills by the first word of their names, and what they change."""
_PRESENCE: Final = frozenset({"presence.beat", "presence.node", "presence.goodbye"})
_UNFINISHED: Final[tuple[TaskState, ...]] = ("working", "submitted", "input_required")
_READS_AFTER_HINT: Final = 2
"""A call is seen before it is carried out: one read may come too early, the second does not."""


class State:
    """Tables of one tenant. Reading never raises what the hub's services raise: it is kept in ``trouble``."""

    def __init__(self, hub: Hub, tenant: str, limits: FeedLimits) -> None:
        self._tenant = tenant
        self._services = hub.services(tenant)
        self._limits = limits
        self._boxes = Table(key=lambda b: b.id, signature=rows.box_signature, row=rows.box_row)
        self._nodes = Table(key=lambda n: n.name, signature=rows.node_signature, row=rows.node_row)
        self._tasks = Table(key=lambda t: t.id, signature=rows.task_signature, row=rows.task_row, age=rows.task_age)
        self._branches = Table(key=lambda b: b.id, signature=rows.branch_signature, row=rows.branch_row)
        self._workspaces = Table(key=lambda w: w.id, signature=rows.workspace_signature, row=rows.workspace_row)
        self._hinted: dict[Noun, int] = {}
        self._hinted_tasks: dict[str, int] = {}
        self._moved: dict[str, TaskRecord] = {}
        self._readers: dict[Noun, Callable[[], Awaitable[None]]] = {
            "boxes": self._read_boxes,
            "tasks": self._read_tasks,
            "branches": self._read_branches,
        }
        self.trouble = ""

    @property
    def _tables(self) -> dict[str, Table[Any]]:
        return {
            "boxes": self._boxes,
            "nodes": self._nodes,
            "tasks": self._tasks,
            "branches": self._branches,
            "workspaces": self._workspaces,
        }

    # --- hints ----------------------------------------------------------------------------------------------------

    def task_moved(self, task: TaskRecord) -> None:
        """A newer version of a task, told by the store itself: no read is needed."""
        self._moved[task.id] = task

    def hint(self, subject: Subject) -> None:
        """What passed on the bus may have changed something; cheap, and never waits."""
        if subject.kind == "report":
            self._hinted_tasks[subject.name] = _READS_AFTER_HINT
        elif subject.kind == "call" and subject.box == HUB:
            family = subject.name.partition("_")[0]
            if family in _NOUN_OF_SKILL:
                self._hinted[_NOUN_OF_SKILL[family]] = _READS_AFTER_HINT
        elif subject.kind == "signal" and subject.name in _PRESENCE:
            self._hinted["boxes"] = 1

    # --- reading --------------------------------------------------------------------------------------------------

    async def read_hinted(self) -> None:
        """Read what was hinted at since the last call."""
        nouns = [noun for noun, left in self._hinted.items() if left]
        self._hinted = {noun: left - 1 for noun, left in self._hinted.items() if left > 1}
        tasks = list(self._hinted_tasks)
        self._hinted_tasks = {task: left - 1 for task, left in self._hinted_tasks.items() if left > 1}
        if len(tasks) > self._limits.task_reads and "tasks" not in nouns:
            nouns.append("tasks")
        async with self._reading():
            for noun in nouns:
                await self._readers[noun]()
            if "tasks" not in nouns:
                for task in tasks:
                    await self._read_task(task)

    async def read_all(self) -> None:
        """Read everything."""
        async with self._reading():
            for read in self._readers.values():
                await read()

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

    # --- frames ---------------------------------------------------------------------------------------------------

    def take_changes(self) -> dict[str, dict[str, Row | None]]:
        """Changed rows by table; tables without a change are left out."""
        moved, self._moved = self._moved, {}
        for task in moved.values():
            self._tasks.put(task)
        changes = {name: table.take_changes() for name, table in self._tables.items()}
        return {name: rows for name, rows in changes.items() if rows}

    def everything(self) -> dict[str, list[Row]]:
        return {name: list(table.rows.values()) for name, table in self._tables.items()}
