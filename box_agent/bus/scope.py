"""Tasks that belong to an object whose lifetime is open-ended, as `asyncio.TaskGroup` is for a block."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Scope:
    """Owns tasks: none is forgotten, `aclose` ends all of them, a failure is reported and never silent."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.closing = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run it until it ends or the scope closes. Nothing is started any more once closing."""
        if self.closing:
            coroutine.close()
            raise RuntimeError(f"{name} started in a closed scope")
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """Those that run now."""
        return frozenset(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": f"task {task.get_name()} failed", "exception": error, "task": task}
            )

    async def aclose(self) -> None:
        """Cancel what runs and wait for its end. Harmless twice; not to be called from one of its own tasks."""
        self.closing = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
