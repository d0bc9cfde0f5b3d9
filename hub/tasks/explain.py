"""Why a task is where it is, in data and in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hub.scheduler import Demand, Placement, place
from hub.tasks.backlog import Queued
from hub.tasks.directory import Directory
from hub.tasks.dispatch import Dispatcher
from hub.tasks.record import StoredTask
from hub.tasks.store import TaskStore

_LOOKED_THROUGH: Final = 10_000


class Explainer:
    def __init__(
        self, store: TaskStore, dispatcher: Dispatcher, directory: Directory, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._directory = directory
        self._clock = clock

    async def explain(self, task_id: str) -> dict[str, Any]:
        """``state``, ``phase`` and one sentence ``why``. Raises `TaskNotFound`.

        Queued: ``position`` (1 is next) among ``waiting`` tasks for the same target, ``retry_in_s``, and for a
        registered Box ``nodes``: name → why not it, or why it. Held: ``attempt``, ``runner``, ``box``,
        ``lease_left_s``. Reads up to 10,000 queued tasks.
        """
        task = await self._store.get(task_id)
        told: dict[str, Any] = {"task": task.id, "state": task.state, "phase": task.phase}
        match task.phase:
            case "queued":
                return told | await self._queued(task)
            case "held":
                return told | self._held(task)
            case _:
                why = task.error.message if task.error is not None else f"it is {task.state}"
                return told | {"why": why}

    async def _queued(self, task: StoredTask) -> dict[str, Any]:
        mine, ahead, waiting = Queued.of(task), 0, 0
        async for queued in self._store.queue(_LOOKED_THROUGH):
            if queued.group.box == task.spec.box:
                waiting += 1
                ahead += queued < mine
        told: dict[str, Any] = {"position": ahead + 1, "waiting": max(waiting, ahead + 1)}
        delay_s = task.not_before - self._clock()
        if delay_s > 0:
            told["retry_in_s"] = round(delay_s, 3)
            told["why"] = task.pending or "it is tried again later"
        else:
            told["why"] = self._dispatcher.why(mine.group) or task.pending or "it is about to be assigned"
        definition = None
        if not self._directory.instances(task.spec.box):
            definition = await self._directory.find_definition(task.spec.box)
        if definition is not None:
            demand = Demand.of_task(task.spec.box, task.spec.isolation, bool(task.spec.branch), definition)
            found = place(demand, self._directory.find_nodes())
            if isinstance(found, Placement):
                told["nodes"] = found.reasons | {found.node.name: f"would take it, with driver {found.driver!r}"}
            else:
                told["nodes"] = found.details["reasons"]
        return told

    def _held(self, task: StoredTask) -> dict[str, Any]:
        attempt = task.attempts[-1]
        left = attempt.lease_expires_at - self._clock()
        told: dict[str, Any] = {
            "attempt": attempt.number,
            "runner": attempt.runner,
            "box": attempt.box,
            "lease_left_s": round(left, 3),
        }
        if task.cancel is not None:
            asked = "acknowledged" if task.cancel.acknowledged_at is not None else "not answered yet"
            told["why"] = f"it was cancelled; {attempt.runner} has {asked}, and has not said that it stopped"
        elif attempt.stopping is not None:
            told["why"] = f"{attempt.runner} was asked to end it: {attempt.stopping.message}"
        elif attempt.state == "assigned":
            told["why"] = f"attempt {attempt.number} was given to {attempt.runner}, which has not said that it started"
        else:
            told["why"] = f"attempt {attempt.number} runs on {attempt.runner}"
        return told
