"""Acts on what time alone changes: timeouts, leases that ran out, ended tasks that are old enough to be forgotten.

A lease is judged by this hub's clock against ``max(lease_expires_at, floor)``. The floor is one lease after this hub
began to listen, and is raised again whenever it could not hear (the bus was away, the process stood still): a runner
is never declared lost for the hub's own deafness.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

import structlog

from hub.tasks import state
from hub.tasks.cancel import Canceller
from hub.tasks.directory import Directory, runner_instances
from hub.tasks.record import StoredTask
from hub.tasks.reports import ReportConsumer
from hub.tasks.settings import TaskSettings
from hub.tasks.store import TaskStore
from schemas.errors import BoxhubError, Conflict, TaskNotFound
from schemas.task import Attempt

_log = structlog.get_logger("boxhub.tasks")
_FORGET_EVERY_S = 60.0

Proof = Literal["", "runner_gone", "runner_denies"]


class Overseer:
    """``heard`` is to be called after every interruption of the bus."""

    def __init__(
        self,
        store: TaskStore,
        directory: Directory,
        canceller: Canceller,
        reports: ReportConsumer,
        settings: TaskSettings,
        connected: Callable[[], bool],
        clock: Callable[[], float],
        random: state.Random,
    ) -> None:
        self._store = store
        self._connected = connected
        self._directory = directory
        self._canceller = canceller
        self._reports = reports
        self._settings = settings
        self._clock = clock
        self._random = random
        self._floor = clock() + settings.lease_s

    def heard(self) -> None:
        """From now on runners can be heard again; each gets a whole lease to say that it lives."""
        self._floor = max(self._floor, self._clock() + self._settings.lease_s)

    async def run(self) -> None:
        """One look per ``scan_s``, until cancelled."""
        settings, ticked = self._settings, time.monotonic()
        while True:
            await asyncio.sleep(settings.scan_s)
            if time.monotonic() - ticked > settings.scan_s + settings.lease_s / 3:
                _log.warning("hub_stood_still", seconds=round(time.monotonic() - ticked, 1))
                self.heard()
            if not self._connected():
                self.heard()
            ticked = time.monotonic()
            try:
                await self.look()
            except BoxhubError as error:
                _log.warning("task_oversight_failed", error=str(error))

    async def look(self) -> None:
        """Act on everything that is due now."""
        async with asyncio.TaskGroup() as group:
            for task in await self._store.due(self._clock()):
                group.create_task(self._act(task))

    async def forget(self) -> None:
        """Remove ended tasks that are older than ``retention_s``, until cancelled."""
        while True:
            try:
                for task in await self._store.ended_before(self._clock() - self._settings.retention_s):
                    await self._store.delete(task)
            except BoxhubError as error:
                _log.warning("old_tasks_not_removed", error=str(error))
            await asyncio.sleep(_FORGET_EVERY_S)

    # -------------------------------------------------------------------------------------------------------------

    async def _act(self, task: StoredTask) -> None:
        try:
            if task.cascade:
                await self._canceller.cascade(task)
            now = self._clock()
            task = await self._store.change(task.id, lambda t: state.expire(t, now))
            attempt = task.live_attempt
            if attempt is not None and self._ran_out(attempt) and not self._reports.in_hand(task.id):
                await self._lost(task, attempt)
        except (Conflict, TaskNotFound):
            pass  # it has moved on meanwhile
        except BoxhubError as error:
            _log.warning("task_oversight_failed", task=task.id, error=str(error))

    def _ran_out(self, attempt: Attempt) -> bool:
        return self._clock() >= max(attempt.lease_expires_at, self._floor) + self._settings.grace_s

    async def _lost(self, task: StoredTask, attempt: Attempt) -> None:
        proof = await self._proof(task, attempt) if task.cancel is not None else ""
        now = self._clock()

        def lose(current: StoredTask) -> StoredTask:
            live = current.live_attempt
            if live is not None and not self._ran_out(live):
                return current  # renewed while we looked
            return state.lose(current, attempt.number, proof=proof, now=now, random=self._random)

        after = await self._store.change(task.id, lose, fresh=True)
        if after.live_attempt is None:
            _log.warning("attempt_lost", task=task.id, attempt=attempt.number, runner=attempt.runner, proof=proof)

    async def _proof(self, task: StoredTask, attempt: Attempt) -> Proof:
        """How it is known that nothing runs any more, the lease having run out; empty when it is not known."""
        instances = runner_instances(self._directory, attempt.runner)
        if not self._directory.settled:
            return ""
        if not instances or (attempt.instance and attempt.instance not in instances):
            return "runner_gone"
        if await self._canceller.ask(task) is False and len(instances) == 1:
            return "runner_denies"
        return ""
