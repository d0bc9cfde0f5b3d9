"""Tasks in the context store: read, insert, change by compare-and-set. Knows nothing of runners or queues."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final

from context_store.backend import Record
from context_store.store import Scope
from hub.tasks.backlog import Queued
from hub.tasks.deadlines import due_at
from hub.tasks.history import PAGE, History
from hub.tasks.record import PAGES, TASKS, StoredTask
from hub.tasks.settings import TaskSettings
from schemas.errors import AlreadyExists, RevisionConflict, StaleAttempt, TaskNotFound, TerminalState

Change = Callable[[StoredTask], StoredTask]
Observer = Callable[[StoredTask], None]

OPEN_STATES: Final = ("submitted", "working", "input_required", "auth_required")
_CACHED: Final = 4096
_RETRIES: Final = 100
_SCAN_PAGE: Final = 500
MAX_HELD: Final = 1_000_000


class TaskStore:
    """Every change is a compare-and-set on the newest version; the cache only saves the read before it.

    ``observers`` are called, in this process, after each version this store has written; they must be quick.
    """

    def __init__(self, scope: Scope, settings: TaskSettings) -> None:
        self._records = scope.records(TASKS)
        self.history = History(scope.records(PAGES), settings.updates_kept)
        self._cache: OrderedDict[str, tuple[int, StoredTask]] = OrderedDict()
        self.observers: list[Observer] = []
        self.writes = 0

    async def insert(self, task: StoredTask) -> bool:
        """Store a new task. False when its id is taken."""
        try:
            revision = await self._records.insert(task.id, task.to_document(due_at(task)))
        except AlreadyExists:
            return False
        self._wrote(task, revision)
        return True

    async def get(self, task_id: str) -> StoredTask:
        """The newest version, read from the store. Raises `TaskNotFound`."""
        return (await self._read(task_id))[1]

    async def change(self, task_id: str, change: Change, *, fresh: bool = False) -> StoredTask:
        """Store ``change(task)``; nothing is written when it returns its argument. Returns what is stored now.

        ``change`` is pure and may run several times. `StaleAttempt` and `TerminalState` it raises are believed only
        on a version read from the store; ``fresh`` demands such a version from the start.
        """
        cached = None if fresh else self._cache.get(task_id)
        for attempt in range(_RETRIES):
            revision, task = cached or await self._read(task_id)
            try:
                after = change(task)
            except (StaleAttempt, TerminalState):
                if cached is None:
                    raise
                cached = None
                continue
            if after is task:
                return task
            if len(task.tail) >= PAGE:
                after = await self.history.make_room(task, after)
            try:
                revision = await self._records.replace(task_id, after.to_document(due_at(after)), expected=revision)
            except RevisionConflict:
                if cached is None and attempt:
                    await asyncio.sleep(random.random() * 0.001 * min(attempt, 20))
                cached = None
                continue
            except BaseException:
                self._cache.pop(task_id, None)  # whether it was written is not known
                raise
            self._wrote(after, revision)
            if after.first_kept > task.first_kept:
                await self.history.drop(after, task.first_kept, after.first_kept)
            return after
        raise RevisionConflict(f"task {task_id!r}: {_RETRIES} writers were faster", task=task_id)

    async def due(self, now: float) -> list[StoredTask]:
        """Tasks about which time alone changes something by ``now``, the longest due first, some hundred at most."""
        due: list[StoredTask] = []
        after: Record | None = None
        for size in (16, 128, 512):  # most of the time nothing is due
            page = await self._records.find(order="due_at", after=after, limit=size)
            due += [_parse(record) for record in page if record.doc["due_at"] <= now]
            if len(page) < size or page[-1].doc["due_at"] > now:
                break
            after = page[-1]
        return due

    async def queue(self, limit: int) -> AsyncIterator[Queued]:
        """Queued tasks in the order of the queue: priority, then age."""
        async for record in self._downwards("queue", limit):
            yield Queued.of_document(record.doc)

    async def held(self) -> AsyncIterator[tuple[str, str]]:
        """(task, runner) of every task with a live attempt."""
        async for record in self._downwards("runner", MAX_HELD):
            yield record.key, record.doc["runner"]

    async def held_by(self, runner: str) -> list[StoredTask]:
        return await self._all({"runner": runner})

    async def children(self, parent: str) -> list[StoredTask]:
        return await self._all({"spec.parent": parent})

    async def open_on(self, branch: str) -> list[StoredTask]:
        """Those that have not ended and work on this branch."""
        return [task for task in await self._all({"spec.branch": branch}) if task.phase != "done"]

    async def on_branches(self, limit: int = 10_000) -> list[StoredTask]:
        """Those that have not ended and work on a branch, of at most ``limit`` open ones."""
        found = await self._records.find({"state": OPEN_STATES}, limit=limit)
        return [_parse(record) for record in found if record.doc["spec"].get("branch")]

    async def newest(self, states: tuple[str, ...], box: str, limit: int) -> list[StoredTask]:
        """The newest tasks first, in any of ``states`` (none given: in all) and for ``box`` (empty: for any)."""
        where: dict[str, str | tuple[str, ...]] = {"state": states} if states else {}
        if box:
            where["spec.box"] = box
        found = await self._records.find(where, order="-created_at", limit=limit)
        return [_parse(record) for record in found]

    async def count_open(self, limit: int = 10_000) -> Counter[str]:
        """How many tasks are in each state that is not terminal; stops counting at ``limit``."""
        found = await self._records.find({"state": OPEN_STATES}, limit=limit)
        return Counter(record.doc["state"] for record in found)

    async def ended_before(self, at: float, limit: int = 200) -> list[StoredTask]:
        """Ended tasks that nothing has happened to since ``at``, some of the oldest."""
        terminal = ("completed", "failed", "canceled", "rejected")
        found = await self._records.find({"state": terminal}, order="created_at", limit=limit)
        return [t for t in map(_parse, found) if t.updated_at < at and not t.cascade]

    async def delete(self, task: StoredTask) -> None:
        """Forget a task and its updates."""
        await self.history.forget(task.id)
        await self._records.delete(task.id)
        self._cache.pop(task.id, None)

    # -------------------------------------------------------------------------------------------------------------

    async def _downwards(self, field: str, limit: int) -> AsyncIterator[Record]:
        after: Record | None = None
        while limit > 0:
            page = await self._records.find(order=f"-{field}", after=after, limit=min(limit, _SCAN_PAGE))
            for record in page:
                if record.doc.get(field) is None:
                    return
                yield record
            if len(page) < min(limit, _SCAN_PAGE):
                return
            limit -= len(page)
            after = page[-1]

    async def _all(self, where: dict[str, str]) -> list[StoredTask]:
        found: list[StoredTask] = []
        after: Record | None = None
        while page := await self._records.find(where, after=after, limit=_SCAN_PAGE):
            found += [_parse(record) for record in page]
            if len(page) < _SCAN_PAGE:
                break
            after = page[-1]
        return found

    async def _read(self, task_id: str) -> tuple[int, StoredTask]:
        record = await self._records.get(task_id)
        if record is None:
            self._cache.pop(task_id, None)
            raise TaskNotFound(f"no task {task_id!r}", task=task_id)
        task = _parse(record)
        self._remember(task, record.revision)
        return record.revision, task

    def _wrote(self, task: StoredTask, revision: int) -> None:
        self.writes += 1
        self._remember(task, revision)
        for observer in self.observers:
            observer(task)

    def _remember(self, task: StoredTask, revision: int) -> None:
        self._cache[task.id] = (revision, task)
        self._cache.move_to_end(task.id)
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)


def _parse(record: Record) -> StoredTask:
    return StoredTask.model_validate(record.doc)
