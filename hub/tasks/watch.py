"""Readers that wait for a task to move: woken in this process, and by polling where another replica wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from hub.tasks.record import StoredTask
from hub.tasks.store import TaskStore
from schemas.task import TaskUpdate


class _Watch:
    """One reader's view of one task; holds only the newest version, so it cannot overflow."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        self.newest: StoredTask | None = None


class Watchers:
    """An observer of the store; costs nothing for tasks that nobody watches."""

    def __init__(self, store: TaskStore, poll_s: float) -> None:
        self._store = store
        self._poll_s = poll_s
        self._watches: dict[str, set[_Watch]] = {}
        store.observers.append(self._moved)

    def poke(self, task_id: str) -> None:
        """Another replica stored a newer version: readers look for themselves."""
        for watch in self._watches.get(task_id, ()):
            watch.moved.set()

    async def updates(self, task_id: str, after: int) -> AsyncGenerator[TaskUpdate, None]:
        """Updates above ``after`` in order, then those that come, until the terminal one. Raises `TaskNotFound`.

        Resumable from any number; what is no longer kept is one ``gap`` update, never a silent hole.
        """
        with self._watch(task_id) as watch:
            task = await self._store.get(task_id)
            while True:
                while after < task.updates:
                    for update in await self._store.history.after(task, after):
                        after = update.data["until"] if update.kind == "gap" else update.number
                        yield update
                if task.terminal:
                    return
                task = await self._next(task_id, watch)

    async def ended(self, task_id: str) -> StoredTask:
        """The task once it is terminal; waits for ever if need be."""
        with self._watch(task_id) as watch:
            task = await self._store.get(task_id)
            while not task.terminal:
                task = await self._next(task_id, watch)
            return task

    # -------------------------------------------------------------------------------------------------------------

    def _moved(self, task: StoredTask) -> None:
        for watch in self._watches.get(task.id, ()):
            watch.newest = task
            watch.moved.set()

    async def _next(self, task_id: str, watch: _Watch) -> StoredTask:
        """The version that woke us; after a poke or ``poll_s`` without anything, what the store has."""
        try:
            async with asyncio.timeout(self._poll_s):
                await watch.moved.wait()
        except TimeoutError:
            return await self._store.get(task_id)
        watch.moved.clear()
        newest, watch.newest = watch.newest, None
        return newest or await self._store.get(task_id)

    @contextmanager
    def _watch(self, task_id: str) -> Iterator[_Watch]:
        watch = _Watch()
        self._watches.setdefault(task_id, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._watches[task_id]
            watches.discard(watch)
            if not watches:
                del self._watches[task_id]
