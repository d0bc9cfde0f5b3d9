"""Tells the other replicas of the hub what moved: a hint that saves them the wait for their next look at the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from hub.tasks.record import StoredTask
from schemas.errors import BoxhubError
from schemas.ids import new_id

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from box_agent.bus.received import Signal
    from hub.tasks.store import TaskStore

_log = structlog.get_logger("boxhub.tasks")

MOVED: Final = "tasks.moved"
_EVERY_S: Final = 0.01
_AT_ONCE: Final = 500

Hint = tuple[str, str]
"""(task, the runner that holds it; empty when none does)"""


class Announcer:
    """An observer of the store. Many moves share one signal; a lost one costs latency only."""

    def __init__(self, store: TaskStore, agent: Agent, heard: Callable[[Hint], None]) -> None:
        self._agent = agent
        self._heard = heard
        self._me = new_id("hub")
        self._moved: dict[str, str] = {}
        self._any = asyncio.Event()
        store.observers.append(self._note)

    async def run(self) -> None:
        """Until cancelled."""
        subscription = await self._agent.on_signal(MOVED, self._on_signal, sender=self._agent.address)
        try:
            while True:
                await self._any.wait()
                await asyncio.sleep(_EVERY_S)
                self._any.clear()
                self._say()
        finally:
            await subscription.aclose()

    def _note(self, task: StoredTask) -> None:
        attempt = task.live_attempt
        self._moved[task.id] = attempt.runner if attempt is not None else ""
        self._any.set()

    def _say(self) -> None:
        moved, self._moved = list(self._moved.items()), {}
        for start in range(0, len(moved), _AT_ONCE):
            try:
                self._agent.publish_signal(MOVED, {"by": self._me, "moved": moved[start : start + _AT_ONCE]})
            except BoxhubError as error:  # they poll, too
                _log.info("tasks_moved_not_told", error=str(error))

    async def _on_signal(self, signal: Signal) -> None:
        said: dict[str, Any] = signal.data
        if said["by"] == self._me:
            return
        for task, runner in said["moved"]:
            self._heard((task, runner))
