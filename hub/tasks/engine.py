"""The task engine of one tenant in one hub: everything in this folder, put together.

It keeps no truth in memory. Any number of engines may work on one store; each may be killed at any moment, and what
it had under way is taken up by the next: queued tasks by the scan, attempts by their leases, reports by the stream.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from box_agent.bus.scope import Scope
from hub.background import background
from hub.tasks import state
from hub.tasks.announce import Announcer, Hint
from hub.tasks.cancel import Canceller, ends
from hub.tasks.directory import Directory
from hub.tasks.dispatch import Dispatcher
from hub.tasks.explain import Explainer
from hub.tasks.handover import HandOver
from hub.tasks.overseer import Overseer
from hub.tasks.record import StoredTask, digest
from hub.tasks.reports import ReportConsumer
from hub.tasks.settings import TaskSettings
from hub.tasks.store import TaskStore
from hub.tasks.watch import Watchers
from schemas.errors import IdempotencyConflict, StaleAttempt, TaskNotFound, TerminalState
from schemas.ids import check_name, new_id
from schemas.subjects import token
from schemas.task import TaskRecord, TaskSpec, TaskUpdate

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from context_store.store import Scope as StoreScope

Held = tuple[str, int]
"""(task, attempt number)"""


class TaskEngine:
    """``async with TaskEngine(scope, agent, directory) as engine``; ``agent`` is the hub's own, at ``_hub``."""

    def __init__(
        self,
        scope: StoreScope,
        agent: Agent,
        directory: Directory,
        settings: TaskSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        random: state.Random = random.random,
    ) -> None:
        settings = settings or TaskSettings()
        self.settings = settings
        self.tenant = scope.tenant
        self.store = TaskStore(scope, settings)
        self._agent = agent
        self._clock = clock
        self._random = random
        self._scope = Scope()
        self._exits = AsyncExitStack()
        self._watchers = Watchers(self.store, settings.poll_s)

        def connected() -> bool:
            return agent.connection.connected

        self._handover = HandOver(self.store, agent, settings, clock, scope.branches.get)
        self.dispatcher = Dispatcher(self.store, directory, self._handover, self._scope, settings, connected, clock)
        self._canceller = Canceller(self.store, agent, self._scope, settings, clock)
        self.reports = ReportConsumer(
            self.store, agent.connection, agent.streams, agent.refs, scope.tenant, self._scope, settings, clock, random
        )
        self.overseer = Overseer(
            self.store, directory, self._canceller, self.reports, settings, connected, clock, random
        )
        self._announcer = Announcer(self.store, agent, self._heard)
        self._explainer = Explainer(self.store, self.dispatcher, directory, clock)
        self._handover.on_started = self._canceller.started
        self._ended: Counter[str] = Counter()
        self.store.observers.append(self._count_ended)

    # --- lifetime ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Returns when tasks are accepted; the loops run from then on. One that fails ends the block, loudly."""
        async with AsyncExitStack() as exits:
            exits.push_async_callback(self._scope.aclose)
            group = await exits.enter_async_context(background())
            await self.dispatcher.scan()
            loops = {
                "dispatch": self.dispatcher.run(),
                "scan": self.dispatcher.run_scans(),
                "reports": self.reports.run(),
                "oversight": self.overseer.run(),
                "forget": self.overseer.forget(),
                "announce": self._announcer.run(),
            }
            for name, loop in loops.items():
                exits.callback(group.create_task(loop, name=f"tasks {name} {self.tenant}").cancel)
            self._agent.connection.on_reconnect.append(self._reconnected)
            exits.callback(self._agent.connection.on_reconnect.remove, self._reconnected)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        """Takes nothing up any more, lets starts under way be answered (``close_s``), stops."""
        await self.dispatcher.settle(self.settings.close_s)
        return await self._exits.__aexit__(*exc_info)

    def wake(self) -> None:
        """Somebody came, or has room: look at the queue now."""
        self.dispatcher.wake()

    def observe(self, moved: Callable[[TaskRecord], None]) -> None:
        """Call ``moved`` with every version this hub stores; it must be quick and must not raise."""
        self.store.observers.append(lambda task: moved(task.public()))

    # --- verbs ---------------------------------------------------------------------------------------------------

    async def submit(self, spec: TaskSpec, *, submitter: str) -> TaskRecord:
        """Accepted when this returns: stored, and never lost from then on.

        The same id with the same content gives the same task; with another content it is `IdempotencyConflict`.
        Raises `InvalidInput` for names that cannot be, `TaskNotFound` for a parent that is not there.
        """
        spec = spec if spec.id else spec.model_copy(update={"id": new_id("task")})
        check_name(spec.id, "task")
        token(spec.box)
        token(spec.skill)
        if spec.parent:
            await self.store.get(spec.parent)
        task = state.submit(spec, tenant=self.tenant, submitter=submitter, digest=digest(spec), now=self._clock())
        task = await self._insert(task)
        if spec.parent:
            task = await self._follow_parent(task)
        return task.public()

    async def get(self, task_id: str) -> TaskRecord:
        """Raises `TaskNotFound`."""
        return (await self.store.get(task_id)).public()

    async def newest(self, states: Sequence[str] = (), *, box: str = "", limit: int = 100) -> list[TaskRecord]:
        """Tasks in any of ``states`` (none given: in all), the newest first."""
        return [task.public() for task in await self.store.newest(tuple(states), box, limit)]

    async def open_on(self, branch: str) -> list[TaskRecord]:
        """Those that have not ended and work on this branch."""
        return [task.public() for task in await self.store.open_on(branch)]

    async def on_branches(self) -> list[TaskRecord]:
        """Those that have not ended and work on any branch."""
        return [task.public() for task in await self.store.on_branches()]

    async def counts(self) -> dict[str, int]:
        """Tasks by state: those that are open as stored, those that ended as counted since this hub started."""
        return dict(await self.store.count_open() + self._ended)

    async def cancel(self, task_id: str, *, by: str, reason: str = "") -> TaskRecord:
        """Stores the wish, and passes it on to the runner and the children. The state is ``canceled`` only when it is
        proved that nothing runs. Raises `TaskNotFound`, `TerminalState` when it ended otherwise.
        """
        now = self._clock()
        task = await self.store.change(
            task_id, lambda t: state.request_cancel(t, by=by, reason=reason, now=now), fresh=True
        )
        return task.public()

    def updates(self, task_id: str, after: int = 0) -> AsyncIterator[TaskUpdate]:
        """See `Watchers.updates`."""
        return self._watchers.updates(task_id, after)

    async def wait(self, task_id: str, timeout_s: float) -> TaskRecord:
        """The record once it is terminal, or as it is after ``timeout_s``. Raises `TaskNotFound`."""
        try:
            async with asyncio.timeout(timeout_s):
                return (await self._watchers.ended(task_id)).public()
        except TimeoutError:
            return await self.get(task_id)

    async def renew(self, runner: str, instance: str, held: Sequence[Held]) -> dict[str, Any]:
        """One runner's leases. ``lost``: not its own any more, to be ended without a word. ``cancel``: to be ended."""
        lost: list[Held] = []
        cancel: list[Held] = []
        live = {task.id: task for task in await self.store.held_by(runner)}
        async with asyncio.TaskGroup() as group:
            for task_id, number in held:
                task = live.get(task_id)
                if task is None or task.attempts[-1].number != number:
                    lost.append((task_id, number))
                else:
                    group.create_task(self._renew(task, number, runner, instance, lost, cancel))
        return {"lost": lost, "cancel": cancel, "lease_s": self.settings.lease_s}

    async def explain(self, task_id: str) -> dict[str, Any]:
        """Why it is where it is; see `Explainer`."""
        return await self._explainer.explain(task_id)

    # -------------------------------------------------------------------------------------------------------------

    async def _insert(self, task: StoredTask) -> StoredTask:
        route = self.dispatcher.express(task)
        stored = False
        try:
            if route is not None:
                task = state.assign(
                    task, runner=route.runner, instance="", box=route.box,
                    lease_s=self.settings.lease_s, now=task.created_at,
                )  # fmt: skip
            stored = await self.store.insert(task)
        finally:
            if route is not None and not stored:
                self.dispatcher.abandon(task.id)
        if not stored:
            return await self._same(task)
        if route is not None:
            self.dispatcher.start(task, route)
        return task

    async def _same(self, task: StoredTask) -> StoredTask:
        present = await self.store.get(task.id)
        if present.digest != task.digest:
            raise IdempotencyConflict(
                f"task {task.id!r} was submitted before with another content; choose another id", task=task.id
            )
        return present

    async def _follow_parent(self, task: StoredTask) -> StoredTask:
        """A parent that was cancelled while its child was being stored may not have seen it: then we see that."""
        try:
            parent = await self.store.get(task.spec.parent)
        except TaskNotFound:
            return task
        if parent.cancel is None or task.terminal:
            return task
        by, reason, now = parent.cancel.by, f"its parent {parent.id} was cancelled", self._clock()
        try:
            return await self.store.change(task.id, lambda t: state.request_cancel(t, by=by, reason=reason, now=now))
        except TerminalState:
            return await self.store.get(task.id)

    async def _renew(
        self, task: StoredTask, number: int, runner: str, instance: str, lost: list[Held], cancel: list[Held]
    ) -> None:
        now = self._clock()
        try:
            task = await self.store.change(
                task.id,
                lambda t: state.renew(
                    t, number, runner=runner, instance=instance, lease_s=self.settings.lease_s, now=now
                ),
                fresh=True,
            )
        except (StaleAttempt, TerminalState, TaskNotFound):
            lost.append((task.id, number))
            return
        if ends(task):
            cancel.append((task.id, number))

    def _count_ended(self, task: StoredTask) -> None:
        if task.terminal and not (task.state == "canceled" and task.cascade):  # it is written once more then
            self._ended[task.state] += 1

    def _heard(self, hint: Hint) -> None:
        task_id, runner = hint
        self._watchers.poke(task_id)
        self.dispatcher.heard(task_id, runner)

    def _reconnected(self) -> None:
        self.overseer.heard()
        self.dispatcher.wake()
