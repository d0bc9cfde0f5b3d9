"""Ends attempts: tells runners, and passes a cancel on to the children.

The intent is in the record before anybody is told, so nothing here has to survive: whoever sees a record with a live
attempt that should end tells its runner, the answer to every lease renewal says it again, and only the runner's
report (or the end of the lease) proves that it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from hub.tasks import state
from hub.tasks.record import StoredTask
from hub.tasks.settings import TaskSettings
from hub.tasks.store import TaskStore
from schemas.errors import BoxhubError, Conflict, TaskNotFound, TerminalState

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from box_agent.bus.scope import Scope

_log = structlog.get_logger("boxhub.tasks")


class Canceller:
    """An observer of the store."""

    def __init__(
        self, store: TaskStore, agent: Agent, scope: Scope, settings: TaskSettings, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._agent = agent
        self._scope = scope
        self._settings = settings
        self._clock = clock
        self._told: dict[str, int] = {}
        store.observers.append(self.moved)

    def moved(self, task: StoredTask) -> None:
        if not ends(task):
            self._told.pop(task.id, None)
        elif self._told.get(task.id) != task.attempts[-1].number:
            self._told[task.id] = task.attempts[-1].number
            self._scope.spawn(self._tell(task), f"cancel {task.id}")
        if task.cascade:
            self._scope.spawn(self.cascade(task), f"cascade {task.id}")

    async def started(self, task_id: str) -> None:
        """A runner has just answered to a start: a cancel that came before it may have found nothing to cancel."""
        if task_id in self._told:
            task = await self._store.get(task_id)
            if ends(task):
                await self._tell(task)

    async def ask(self, task: StoredTask) -> bool | None:
        """Tell the runner of the live attempt to end it. True: it does. False: it has none. ``None``: no answer."""
        attempt = task.attempts[-1]
        try:
            answer = await self._agent.call(
                attempt.runner,
                "_attempt_cancel",
                task=task.id,
                attempt=attempt.number,
                timeout_s=self._settings.cancel_ack_s,
            )
        except BoxhubError as error:
            _log.info("attempt_cancel_unanswered", task=task.id, attempt=attempt.number, error=str(error))
            return None
        return bool(answer["known"])

    async def cascade(self, task: StoredTask) -> None:
        """Cancel every child that still runs, then note that it is done. Raises nothing: the next scan tries again."""
        try:
            for child in await self._store.children(task.id):
                if not child.terminal and child.cancel is None:
                    await self._cancel_child(task, child.id)
            await self._store.change(task.id, state.cascaded)
        except BoxhubError as error:
            _log.warning("cancel_not_passed_on", task=task.id, error=str(error))

    async def _cancel_child(self, task: StoredTask, child_id: str) -> None:
        assert task.cancel is not None
        by, reason, now = task.cancel.by, f"its parent {task.id} was cancelled", self._clock()
        try:
            await self._store.change(child_id, lambda c: state.request_cancel(c, by=by, reason=reason, now=now))
        except (TerminalState, TaskNotFound):
            pass  # it has ended meanwhile

    async def _tell(self, task: StoredTask) -> None:
        number, now = task.attempts[-1].number, self._clock()
        if not await self.ask(task) or task.cancel is None:
            return
        try:
            await self._store.change(task.id, lambda t: state.acknowledge_cancel(t, number, now))
        except (Conflict, TaskNotFound):
            pass  # it has stopped already
        except BoxhubError as error:
            _log.warning("cancel_acknowledgement_not_stored", task=task.id, error=str(error))


def ends(task: StoredTask) -> bool:
    """It has a live attempt that should end."""
    attempt = task.live_attempt
    return attempt is not None and (task.cancel is not None or attempt.stopping is not None)
