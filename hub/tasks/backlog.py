"""The queue as this replica knows it: which task is next for whom. The store is the truth, this saves the search."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from schemas.box import ISOLATION_ORDER, Isolation
from schemas.task import TaskRecord


class Group(NamedTuple):
    """Tasks that any runner which takes one of them would take: if the first must wait, all must."""

    box: str
    isolation: Isolation
    branch: bool


@dataclass(frozen=True, slots=True, order=True)
class Queued:
    """One waiting task; sorts as the queue does."""

    urgency: int
    created_at: float
    id: str
    group: Group = field(compare=False)
    not_before: float = field(compare=False)

    @classmethod
    def of(cls, task: TaskRecord) -> Self:
        spec = task.spec
        group = Group(spec.box, spec.isolation, bool(spec.branch))
        return cls(-spec.priority, task.created_at, task.id, group, task.not_before)

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Self:
        """From a stored document, without the cost of validating all of it."""
        spec = document["spec"]
        group = Group(spec["box"], spec.get("isolation", "none"), bool(spec.get("branch")))
        return cls(
            -spec.get("priority", 0), document["created_at"], document["id"], group, document.get("not_before", 0.0)
        )


class Backlog:
    """All operations are O(log n). Entries that were removed are skipped when they come up."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, Queued] = {}
        self._groups: dict[Group, list[Queued]] = {}
        self._delayed: list[tuple[float, Queued]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._entries

    @property
    def full(self) -> bool:
        return len(self._entries) >= self._limit

    def add(self, queued: Queued, now: float) -> bool:
        """False when it is there already, or the limit is met (the store still has it)."""
        present = self._entries.get(queued.id)
        if self.full if present is None else present.not_before == queued.not_before:
            return False
        self._entries[queued.id] = queued
        if queued.not_before > now:
            heapq.heappush(self._delayed, (queued.not_before, queued))
        else:
            heapq.heappush(self._groups.setdefault(queued.group, []), queued)
        return True

    def remove(self, task_id: str) -> None:
        self._entries.pop(task_id, None)

    def promote(self, now: float) -> None:
        """Tasks whose time has come join the queue."""
        while self._delayed and self._delayed[0][0] <= now:
            _, queued = heapq.heappop(self._delayed)
            if self._entries.get(queued.id) is queued:
                heapq.heappush(self._groups.setdefault(queued.group, []), queued)

    def next_at(self) -> float | None:
        """When the first delayed task may run."""
        while self._delayed and self._entries.get(self._delayed[0][1].id) is not self._delayed[0][1]:
            heapq.heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    def groups(self) -> list[Group]:
        """Those with tasks that may run now."""
        return [group for group in list(self._groups) if self._head(group) is not None]

    def waits_for(self, box: str) -> bool:
        """Somebody waits for that target already, so a newcomer must not overtake."""
        groups = (Group(box, isolation, branch) for isolation in ISOLATION_ORDER for branch in (False, True))
        return any(group in self._groups and self._head(group) is not None for group in groups)

    def drain(self, take: Callable[[Queued], bool]) -> Iterator[Queued]:
        """Offers the waiting tasks in order; ``take`` says yes, and the task leaves the queue and is yielded, or no,
        and the rest of its group is left for the next time."""
        heads = [head for group in self.groups() if (head := self._head(group)) is not None]
        heapq.heapify(heads)
        while heads:
            queued = heads[0]
            if not take(queued):
                heapq.heappop(heads)
                continue
            heapq.heappop(self._groups[queued.group])
            self._entries.pop(queued.id, None)
            following = self._head(queued.group)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, following)
            yield queued

    def waiting(self, group: Group, limit: int) -> list[Queued]:
        """The first ``limit`` tasks of a group."""
        entries = (q for q in self._groups.get(group, ()) if self._entries.get(q.id) is q)
        return heapq.nsmallest(limit, entries)

    def _head(self, group: Group) -> Queued | None:
        heap = self._groups[group]
        while heap and self._entries.get(heap[0].id) is not heap[0]:
            heapq.heappop(heap)
        if not heap:
            del self._groups[group]
            return None
        return heap[0]
