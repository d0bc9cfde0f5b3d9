"""Tells a runner to start an attempt, and makes sense of the answer.

Three outcomes, never mixed up: *accepted*; *refused*, which proves that nothing runs, so the task goes back to the
queue with its retry budget untouched; *unknown* (no answer in time, the connection broke), where it may be running,
so only the lease decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from hub.tasks import state
from hub.tasks.record import StoredTask
from hub.tasks.settings import TaskSettings
from hub.tasks.store import TaskStore
from hub.tasks.targets import Route
from schemas.branch import Branch
from schemas.errors import (
    BoxhubError,
    BoxNotFound,
    BranchNotFound,
    Conflict,
    DriverUnavailable,
    InvalidInput,
    NoCapacity,
    Overloaded,
    PermissionDenied,
    SkillNotFound,
    StoreUnavailable,
    TaskNotFound,
)
from schemas.task import Assignment

if TYPE_CHECKING:
    from box_agent.agent import Agent

_log = structlog.get_logger("boxhub.tasks")

NOT_NOW: Final = (Overloaded, NoCapacity, BoxNotFound)
"""Refusals that waiting mends. `BoxNotFound` is the server's own word that nobody got the call."""
NEVER: Final = (InvalidInput, SkillNotFound, BranchNotFound, PermissionDenied, DriverUnavailable)
"""Refusals that it does not: the task is rejected."""


class HandOver:
    def __init__(
        self,
        store: TaskStore,
        agent: Agent,
        settings: TaskSettings,
        clock: Callable[[], float],
        find_branch: Callable[[str], Awaitable[Branch]],
    ) -> None:
        self._store = store
        self._find_branch = find_branch
        self._agent = agent
        self._settings = settings
        self._clock = clock
        self.on_overloaded: Callable[[str, float], None] = lambda runner, until: None
        self.on_started: Callable[[str], Awaitable[None]] | None = None

    async def start(self, task: StoredTask, route: Route) -> None:
        """Returns when the runner has answered, or could have."""
        attempt = task.attempts[-1]
        total_s = task.spec.timeouts.total_s
        assignment = Assignment(
            task=task.id,
            tenant=task.tenant,
            attempt=attempt.number,
            lease_s=self._settings.lease_s,
            spec=task.spec,
            definition=route.definition.wire() if route.definition is not None else None,
            head=await self._head(task.spec.branch) if route.definition is not None else "",
            deadline_at=task.created_at + total_s if total_s is not None else None,
        )
        try:
            await self._agent.call(
                route.runner, "_attempt_start", assignment=assignment.wire(), timeout_s=self._settings.start_ack_s
            )
        except BoxhubError as error:
            await self._not_started(task, attempt.number, error)
        if self.on_started is not None:
            await self.on_started(task.id)

    async def _head(self, branch: str) -> str:
        """The branch's tree, so that the node need not ask; empty when it had better."""
        if not branch:
            return ""
        try:
            return (await self._find_branch(branch)).head
        except (BranchNotFound, StoreUnavailable):
            return ""

    async def _not_started(self, task: StoredTask, number: int, error: BoxhubError) -> None:
        if not isinstance(error, NOT_NOW + NEVER):
            _log.warning("attempt_start_unknown", task=task.id, attempt=number, error=str(error))
            return
        now = self._clock()
        retry_at: float | None = now + self._pause_s(task)
        if isinstance(error, NEVER):
            retry_at = None
        elif isinstance(error, (Overloaded, NoCapacity)) and retry_at is not None:
            self.on_overloaded(task.attempts[-1].runner, retry_at)
        try:
            await self._store.change(
                task.id, lambda t: state.refuse(t, number, error.to_info(), retry_at=retry_at, now=now)
            )
        except (Conflict, TaskNotFound):
            pass  # it has moved on without us
        except StoreUnavailable as unavailable:
            _log.warning("attempt_refusal_not_stored", task=task.id, attempt=number, error=str(unavailable))

    def _pause_s(self, task: StoredTask) -> float:
        """Longer with every refusal in a row."""
        in_a_row = 0
        for attempt in reversed(task.attempts[:-1]):
            if attempt.state != "refused":
                break
            in_a_row += 1
        return self._settings.refused_wait_s * min(30, 1 << min(in_a_row, 5))
