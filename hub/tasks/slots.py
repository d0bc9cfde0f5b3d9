"""How many attempts each runner holds, as this replica knows it. The store is the truth; `reconcile` brings it in."""

from __future__ import annotations

from collections.abc import Iterable

from hub.tasks.record import StoredTask


class Slots:
    """Counts reservations too: what is about to be assigned takes its place before the store knows."""

    def __init__(self) -> None:
        self._runner_of: dict[str, str] = {}
        self._held: dict[str, set[str]] = {}
        self._touched: set[str] | None = None

    def count(self, runner: str) -> int:
        return len(self._held.get(runner, ()))

    def reserve(self, runner: str, task_id: str) -> None:
        self.release(task_id)
        self._runner_of[task_id] = runner
        self._held.setdefault(runner, set()).add(task_id)

    def release(self, task_id: str) -> bool:
        """True when it held one."""
        if self._touched is not None:
            self._touched.add(task_id)
        runner = self._runner_of.pop(task_id, None)
        if runner is None:
            return False
        held = self._held[runner]
        held.discard(task_id)
        if not held:
            del self._held[runner]
        return True

    def moved(self, task: StoredTask) -> bool:
        """Follow a version that was stored; true when a slot became free."""
        attempt = task.live_attempt
        if attempt is None:
            return self.release(task.id)
        if self._runner_of.get(task.id) != attempt.runner:
            self.reserve(attempt.runner, task.id)
        return False

    def begin_reconcile(self) -> None:
        """Call before the store is read: what moves from here on is newer than what was read."""
        self._touched = set()

    def reconcile(self, held: Iterable[tuple[str, str]], reserved: Iterable[str]) -> None:
        """``held``: (task, runner) as stored. What is ``reserved`` is on its way to the store and stays."""
        touched, self._touched = self._touched or set(), None
        stored = dict(held)
        for task_id in set(self._runner_of) - set(stored) - touched - set(reserved):
            self.release(task_id)
        for task_id, runner in stored.items():
            if task_id not in touched and self._runner_of.get(task_id) != runner:
                self.reserve(runner, task_id)
