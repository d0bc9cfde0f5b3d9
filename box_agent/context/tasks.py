"""Durable delegations: submit, follow, wait, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from box_agent.context.hub import Hub, interrupted
from schemas.errors import BoxhubError, Cancelled, DeadlineExceeded, error_from_info
from schemas.task import TERMINAL, TaskRecord, TaskSpec, TaskState, TaskUpdate

_TRY_S = 5.0
_WAIT_S = 5.0
_ANSWER_S = 2.0


class TaskClient:
    """The tenant's tasks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def submit(self, spec: TaskSpec, *, timeout_s: float = 30.0) -> TaskRecord:
        """Accepted and stored, never lost from then on. A lost answer is asked for again: same id, same task.

        Raises `IdempotencyConflict` when the id is taken by another content.
        """
        if not spec.id:
            raise ValueError("a spec needs an id, so that a second try is the same task")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            left = max(0.1, deadline - loop.time())
            try:
                return await self._hub.one(TaskRecord, "task_submit", timeout_s=min(_TRY_S, left), spec=spec.wire())
            except BoxhubError as error:
                await interrupted(error, deadline)

    async def get(self, id: str) -> TaskRecord:
        """Raises `TaskNotFound`."""
        return await self._hub.one(TaskRecord, "task_get", id=id)

    async def list(self, state: TaskState | None = None, limit: int = 100) -> list[TaskRecord]:
        return await self._hub.many(TaskRecord, "task_list", state=state, limit=limit)

    async def cancel(self, id: str, reason: str = "") -> TaskRecord:
        """Ask for it to stop; the record says in ``cancel.stopped_at`` when it has. Raises `TerminalState`."""
        return await self._hub.one(TaskRecord, "task_cancel", id=id, reason=reason)

    async def updates(self, id: str, after: int = 0) -> AsyncIterator[TaskUpdate]:
        """Every update with a number above ``after``, until the task ends; resumed after any interruption.

        Updates that are no longer kept come as one of kind ``gap``.
        """
        while True:
            try:
                async for row in self._hub.stream("task_updates", id=id, after=after):
                    update = TaskUpdate.model_validate(row)
                    after = update.number
                    if update.kind == "gap" and isinstance(update.data, dict):
                        after = int(update.data.get("until", after))
                    yield update
                    if update.kind == "state" and update.state in TERMINAL:
                        return
                if (await self.get(id)).updates <= after:
                    return
            except BoxhubError as error:
                await interrupted(error)

    async def wait(self, id: str, timeout_s: float | None = None) -> TaskRecord:
        """The record once the task has ended. Raises `DeadlineExceeded`; the task runs on then."""
        try:
            async with asyncio.timeout(timeout_s):
                wait_s = 1.0
                while True:
                    try:
                        record = await self._hub.one(
                            TaskRecord, "task_wait", timeout_s=wait_s + _ANSWER_S, id=id, wait_s=wait_s
                        )
                    except BoxhubError as error:
                        await interrupted(error)
                        continue
                    if record.terminal:
                        return record
                    wait_s = min(2 * wait_s, _WAIT_S)  # bounded: a hub that is killed meanwhile cannot say so
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"task {id} has not ended within {timeout_s} s; it runs on", timeout="result", seconds=timeout_s
            ) from error


class TaskHandle:
    """One delegated task."""

    def __init__(self, tasks: TaskClient, id: str) -> None:
        self._tasks = tasks
        self.id = id

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id}>"

    async def get(self) -> TaskRecord:
        return await self._tasks.get(self.id)

    async def result(self, timeout_s: float | None = None) -> Any:
        """What the skill returned. Raises what failed it, `Cancelled`, or `DeadlineExceeded` (it runs on then)."""
        return outcome(await self._tasks.wait(self.id, timeout_s))

    def updates(self, after: int = 0) -> AsyncIterator[TaskUpdate]:
        return self._tasks.updates(self.id, after)

    async def cancel(self, reason: str = "") -> TaskRecord:
        return await self._tasks.cancel(self.id, reason)


def outcome(record: TaskRecord) -> Any:
    """The result of an ended task, or the error it ended with."""
    if record.state == "completed":
        return record.result
    if record.error is not None:
        raise error_from_info(record.error)
    reason = record.cancel.reason if record.cancel is not None else ""
    raise Cancelled(f"task {record.id} ended as {record.state}{': ' if reason else ''}{reason}", task=record.id)
