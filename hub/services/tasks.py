"""Tasks: durable delegations. The bus adapter and the gateway call the same object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from hub.config import Limits
from hub.services import bounds
from hub.services.principal import Principal
from hub.tasks.engine import TaskEngine
from schemas.errors import InvalidInput, PermissionDenied
from schemas.task import TaskRecord, TaskSpec, TaskState, TaskUpdate

MAX_WAIT_S: Final = 25.0
_MAX_HELD: Final = 10_000


class TaskService:
    """The tasks of one tenant, as one principal sees them."""

    def __init__(self, engine: TaskEngine, principal: Principal, limits: Limits) -> None:
        self._engine = engine
        self._principal = principal
        self._limits = limits

    async def task_submit(self, spec: TaskSpec) -> TaskRecord:
        """Accepted means stored. The same id with the same content again gives the same task.

        Raises `IdempotencyConflict` for another content under an id, `InvalidInput`, `PayloadTooLarge`,
        `TaskNotFound` for a parent that is not there.
        """
        bounds.json_size(spec.wire(), self._limits.body_bytes, "the task")
        return await self._engine.submit(spec, submitter=self._who)

    async def task_get(self, id: str) -> TaskRecord:
        """Raises `TaskNotFound`."""
        return await self._engine.get(id)

    async def task_wait(self, id: str, wait_s: float = MAX_WAIT_S) -> TaskRecord:
        """The record once the task has ended; after ``wait_s`` (at most 25 s) as it is then: ask again."""
        return await self._engine.wait(id, min(max(0.0, wait_s), MAX_WAIT_S))

    async def task_list(self, state: TaskState | None = None, limit: int = 100, box: str = "") -> list[TaskRecord]:
        """The newest first; of one state, or for one box, when that is given."""
        bounds.at_most(limit, max(self._limits.list_items, 10_000))
        return await self._engine.newest((state,) if state else (), box=box, limit=limit)

    async def task_counts(self) -> dict[str, int]:
        """Tasks by state: those that are open as stored, those that ended as counted since this hub started."""
        return await self._engine.counts()

    async def task_cancel(self, id: str, reason: str = "") -> TaskRecord:
        """Stores the wish and passes it on; ``state`` becomes ``canceled`` when it is proved that nothing runs.

        Again, it is fine. Raises `TerminalState` when the task has ended otherwise, `TaskNotFound`.
        """
        bounds.length(reason, 2000, "the reason")
        return await self._engine.cancel(id, by=self._who, reason=reason)

    async def task_updates(self, id: str, after: int = 0) -> AsyncIterator[TaskUpdate]:
        """Every update above ``after``, then those that come, until the task ends; what is not kept is one ``gap``."""
        async for update in self._engine.updates(id, after):
            yield update

    async def task_explain(self, id: str) -> dict[str, Any]:
        """Why it is where it is: the queue position, the reason for each node, the retry, the lease."""
        return await self._engine.explain(id)

    async def _task_renew(self, runner: str, instance: str, held: list[tuple[str, int]]) -> dict[str, Any]:
        """A runner says what it holds: ``{"lost": [[task, attempt]…], "cancel": […], "lease_s": 15}``."""
        if self._principal.address not in ("", runner):
            raise PermissionDenied(f"{self._who} cannot renew the leases of {runner!r}")
        if len(held) > _MAX_HELD:
            raise InvalidInput(f"{len(held)} attempts, {_MAX_HELD} are allowed at once")
        return await self._engine.renew(runner, instance, held)

    @property
    def _who(self) -> str:
        return self._principal.address or self._principal.kind
