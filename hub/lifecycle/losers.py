"""Ends what still works on a branch that lost its race.

Whoever commits a branch of a race has the losers stopped at once (`Losers.stop`); the leader looks again every now and
then (`Losers.run`), so a hub that was killed after the commit leaves nothing that works on for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog

from context_store.store import Scope
from hub.registry.registry import Registry
from hub.tasks.engine import TaskEngine
from schemas.errors import BoxhubError, BranchNotFound, StoreUnavailable, TerminalState
from schemas.subjects import HUB

_log = structlog.get_logger(__name__)

SCAN_S: Final = 15.0
_PARALLEL: Final = 16
_ENDED: Final = frozenset({"stopping", "stopped", "failed"})


@dataclass(frozen=True)
class Stopped:
    """Tasks that were told to end, which have when their state says ``canceled``, and live boxes that have ended."""

    tasks: list[str]
    boxes: list[str]


class Losers:
    """``await Losers(scope, registry, tasks).run(token)`` under a lease."""

    def __init__(self, scope: Scope, registry: Registry, tasks: TaskEngine, *, scan_s: float = SCAN_S) -> None:
        self._scope = scope
        self._registry = registry
        self._tasks = tasks
        self._scan_s = scan_s

    async def stop(self, branches: Collection[str], reason: str) -> Stopped:
        """Cancel the tasks and end the live boxes that work on these branches.

        What cannot be reached now is left to `run`.
        """
        slots = asyncio.Semaphore(_PARALLEL)
        tasks: list[str] = []
        boxes: list[str] = []

        async def cancel(branch: str) -> None:
            async with slots:
                for task in await self._tasks.open_on(branch):
                    try:
                        await self._tasks.cancel(task.id, by=HUB, reason=reason)
                    except TerminalState:
                        continue  # it has just ended
                    tasks.append(task.id)

        async def end(box: str) -> None:
            async with slots:
                try:
                    await self._registry.spawner.stop(box, reason)
                except BoxhubError as error:
                    _log.warning("loser_not_stopped", box=box, error=str(error))
                else:
                    boxes.append(box)

        async with asyncio.TaskGroup() as group:
            for branch in branches:
                group.create_task(cancel(branch))
            for box in self._boxes_on(frozenset(branches)):
                group.create_task(end(box))
        return Stopped(sorted(tasks), sorted(boxes))

    async def run(self, token: int) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                _log.warning("losers.store_unavailable", tenant=self._scope.tenant, error=str(error))
            await asyncio.sleep(self._scan_s)

    async def sweep(self) -> Stopped:
        """End the races whose winner is known, and all work on branches that lost one."""
        await self._scope.branches.end_races()
        working = {box.branch for box in self._registry.boxes() if box.branch and box.kind == "live"}
        working |= {task.spec.branch for task in await self._tasks.on_branches()}
        lost = [branch for branch in sorted(working) if await self._lost(branch)]
        return await self.stop(lost, "another branch of its race was committed")

    async def _lost(self, branch: str) -> bool:
        try:
            return (await self._scope.branches.get(branch)).state == "superseded"
        except BranchNotFound:
            return False

    def _boxes_on(self, branches: Collection[str]) -> list[str]:
        """Those of task attempts end with their attempt."""
        return [
            box.id
            for box in self._registry.boxes()
            if box.kind == "live" and box.branch in branches and box.owner != HUB and box.state not in _ENDED
        ]
