"""Tasks to runners: assign by compare-and-set, then tell the runner.

Level-triggered: a wake-up makes a pass over the backlog; the periodic scan of the store brings in what a lost
wake-up, another replica or a killed hub left behind. Any number of replicas may do this at once: the store lets
one of them assign.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from hub.tasks import state
from hub.tasks.backlog import Backlog, Group, Queued
from hub.tasks.directory import Directory
from hub.tasks.handover import HandOver
from hub.tasks.record import StoredTask
from hub.tasks.settings import TaskSettings
from hub.tasks.slots import Slots
from hub.tasks.store import TaskStore
from hub.tasks.targets import Route, Targets
from schemas.errors import BoxhubError, Conflict, StoreUnavailable, TaskNotFound

if TYPE_CHECKING:
    from box_agent.bus.scope import Scope

_log = structlog.get_logger("boxhub.tasks")
_REASONS_PER_SCAN = 64


class Dispatcher:
    """Decides when and where; `HandOver` does it. An observer of the store."""

    def __init__(
        self,
        store: TaskStore,
        directory: Directory,
        handover: HandOver,
        scope: Scope,
        settings: TaskSettings,
        connected: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._connected = connected
        self.slots = Slots()
        self.backlog = Backlog(settings.backlog)
        self._store = store
        self._targets = Targets(directory, self.slots, settings)
        self._handover = handover
        self._scope = scope
        self._settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        self._reserved: dict[str, Route] = {}
        self._blocked: dict[Group, str] = {}
        self._closing = False
        self._settled = asyncio.Event()
        handover.on_overloaded = self._overloaded
        store.observers.append(self.moved)

    def wake(self) -> None:
        """Something may be possible now that was not before."""
        self._wake.set()

    def moved(self, task: StoredTask) -> None:
        freed = self.slots.moved(task)
        if task.phase == "queued":
            if self.backlog.add(Queued.of(task), self._clock()):
                self._wake.set()
        else:
            self.backlog.remove(task.id)
        if freed and len(self.backlog):
            self._wake.set()

    def heard(self, task_id: str, runner: str) -> None:
        """Another replica has moved a task; ``runner`` holds it now, or nobody does."""
        if task_id in self._reserved:
            return
        if runner:
            self.backlog.remove(task_id)
            self.slots.reserve(runner, task_id)
        elif self.slots.release(task_id) and len(self.backlog):
            self._wake.set()

    async def settle(self, timeout_s: float) -> None:
        """Start nothing more, and wait for the answers to what was started."""
        self._closing = True
        self._settled.clear()
        if self._reserved:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._settled.wait()

    # --- the express way: submit and assign in one write ---------------------------------------------------------

    def express(self, task: StoredTask) -> Route | None:
        """A reserved route when somebody at the task's address can take it now and nobody waits for the same."""
        if self._held_up() or self.backlog.waits_for(task.spec.box):
            return None
        route = self._targets.to_address(task.spec.box, self._clock())
        if route is not None:
            self._reserve(task.id, route)
        return route

    def start(self, task: StoredTask, route: Route) -> None:
        """Hand over what was assigned with an express route; returns at once."""
        self._scope.spawn(self._hand_over(task, route), f"start {task.id}")

    def abandon(self, task_id: str) -> None:
        """An express route was not used."""
        self._reserved.pop(task_id, None)
        self.slots.release(task_id)

    # --- loops ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Passes over the backlog, until cancelled."""
        while True:
            now = self._clock()
            next_at = self.backlog.next_at()
            wait_s = self._settings.scan_s if next_at is None else min(max(0.0, next_at - now), self._settings.scan_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            if len(self.backlog) and not self._closing:
                try:
                    await self._pass()
                except StoreUnavailable as error:
                    _log.warning("task_dispatch_failed", error=str(error))
                    await asyncio.sleep(self._settings.scan_s)
                    self._wake.set()

    async def run_scans(self) -> None:
        """Brings the store's truth into this replica's memory, until cancelled. Takes at most 5 % of one core."""
        while True:
            began = time.monotonic()
            try:
                await self.scan()
                await self._tell_reasons()
            except BoxhubError as error:
                _log.warning("task_scan_failed", error=str(error))
            await asyncio.sleep(max(self._settings.scan_s, 20 * (time.monotonic() - began)))

    async def scan(self) -> None:
        """One look at everything that is queued or held."""
        self.slots.begin_reconcile()
        held = [(task, runner) async for task, runner in self._store.held()]
        self.slots.reconcile(held, self._reserved)
        async for queued in self._store.queue(self._settings.backlog):
            if queued.id not in self._reserved:
                self.backlog.add(queued, self._clock())
        self._wake.set()

    async def _pass(self) -> None:
        now = self._clock()
        self.backlog.promote(now)
        await self._targets.prepare(self.backlog.groups())
        self._blocked = {}

        def take(queued: Queued) -> bool:
            if reason := self._held_up():
                self._blocked[queued.group] = reason
                return False
            route = self._targets.route(queued.group, now)
            if isinstance(route, str):
                self._blocked[queued.group] = route
                return False
            self._reserve(queued.id, route)
            return True

        for queued in self.backlog.drain(take):
            self._scope.spawn(self._assign(queued.id, self._reserved[queued.id]), f"assign {queued.id}")

    def _held_up(self) -> str:
        """Why nothing can be handed over to anybody; empty when it can."""
        if self._closing:
            return "the hub is closing"
        if not self._connected():
            return "the bus is away"
        if len(self._reserved) >= self._settings.starts:
            return f"the hub hands over {self._settings.starts} attempts at once already"
        return ""

    async def _tell_reasons(self) -> None:
        """Write into the record why it waits, for those in front that wait for a while already."""
        waited = self._clock() - self._settings.scan_s
        for group, reason in list(self._blocked.items()):
            for queued in self.backlog.waiting(group, _REASONS_PER_SCAN):
                if queued.created_at > waited:
                    continue
                with suppress(TaskNotFound):
                    await self._store.change(queued.id, lambda task, reason=reason: state.wait(task, reason))  # type: ignore[misc]

    def why(self, group: Group) -> str:
        """Why the first task of ``group`` does not run, as of the last pass; empty when nothing is in its way."""
        return self._blocked.get(group, "")

    # --- one task ------------------------------------------------------------------------------------------------

    async def _assign(self, task_id: str, route: Route) -> None:
        assigned: StoredTask | None = None
        try:
            assigned = await self._store.change(task_id, self._assignment(route))
        except (Conflict, TaskNotFound):
            pass  # another replica was faster, or it was cancelled
        except StoreUnavailable as error:
            _log.warning("task_assign_failed", task=task_id, error=str(error))
        finally:
            if assigned is None or assigned.live_attempt is None:
                self.abandon(task_id)
        if assigned is not None and assigned.live_attempt is not None:
            await self._hand_over(assigned, route)

    def _assignment(self, route: Route) -> Callable[[StoredTask], StoredTask]:
        now = self._clock()

        def assign(task: StoredTask) -> StoredTask:
            if task.phase == "queued" and task.not_before > now:
                return task  # what we knew was old
            return state.assign(
                task, runner=route.runner, instance="", box=route.box, lease_s=self._settings.lease_s, now=now
            )

        return assign

    async def _hand_over(self, task: StoredTask, route: Route) -> None:
        try:
            await self._handover.start(task, route)
        finally:
            self._reserved.pop(task.id, None)
            if not self._reserved:
                self._settled.set()
            if len(self.backlog):
                self._wake.set()

    def _reserve(self, task_id: str, route: Route) -> None:
        self._reserved[task_id] = route
        self.slots.reserve(route.runner, task_id)

    def _overloaded(self, runner: str, until: float) -> None:
        self._targets.learn(runner, until)
