"""The updates of a task that no longer travel in its record: pages of a fixed size.

A page holds updates ``k * PAGE + 1 .. (k + 1) * PAGE`` and is written only from a *stored* record, so whoever
writes it writes the same, and a page that is there already is as good as written. Only then does the record
let go of them, in the compare-and-set of its next change.
"""

from __future__ import annotations

from typing import Final

from context_store.backend import Records
from hub.tasks.record import StoredTask
from schemas.errors import AlreadyExists
from schemas.task import TaskUpdate

PAGE: Final = 32


class History:
    """Pages of one tenant's tasks."""

    def __init__(self, pages: Records, kept: int) -> None:
        self._pages = pages
        self._kept = kept

    async def make_room(self, stored: StoredTask, task: StoredTask) -> StoredTask:
        """``task`` (the next version of ``stored``) without the full pages of ``stored``, which are written now."""
        moved = 0
        while moved + PAGE <= len(stored.tail):
            page = stored.tail[moved : moved + PAGE]
            try:
                await self._pages.insert(_key(task.id, page[0].number), {"updates": [u.wire() for u in page]})
            except AlreadyExists:
                pass  # another hub wrote the same page
            moved += PAGE
        if not moved:
            return task
        tail = task.tail[moved:]
        last_paged = tail[0].number - 1 if tail else task.updates
        first_kept = max(task.first_kept, (last_paged - self._kept) // PAGE * PAGE + 1)
        return task.model_copy(update={"tail": tail, "first_kept": first_kept})

    async def drop(self, task: StoredTask, first: int, until: int) -> None:
        """Forget the pages with updates ``first`` .. ``until - 1``."""
        for number in range(first, until, PAGE):
            await self._pages.delete(_key(task.id, number))

    async def after(self, task: StoredTask, number: int, limit: int = 4 * PAGE) -> list[TaskUpdate]:
        """Up to about ``limit`` updates above ``number``, in order; a gap marker for what is no longer kept."""
        found: list[TaskUpdate] = []
        wanted = number + 1
        in_tail = task.tail[0].number if task.tail else task.updates + 1
        if wanted < task.first_kept:
            found.append(_gap(task, wanted, task.first_kept - 1))
            wanted = task.first_kept
        while wanted < in_tail and len(found) < limit:
            start = (wanted - 1) // PAGE * PAGE + 1
            record = await self._pages.get(_key(task.id, start))
            if record is None:  # dropped since `task` was read
                found.append(_gap(task, wanted, start + PAGE - 1))
            else:
                page = (TaskUpdate.model_validate(u) for u in record.doc["updates"])
                found += [u for u in page if u.number >= wanted]
            wanted = start + PAGE
        if wanted >= in_tail:
            found += [u for u in task.tail if u.number >= wanted]
        return found

    async def forget(self, task_id: str) -> None:
        """Delete all pages of a task."""
        while records := await self._pages.find(prefix=f"{task_id}/", limit=100):
            for record in records:
                await self._pages.delete(record.key)


def _gap(task: StoredTask, first: int, until: int) -> TaskUpdate:
    return TaskUpdate(task=task.id, number=first, at=task.updated_at, kind="gap", data={"until": until})


def _key(task_id: str, first: int) -> str:
    return f"{task_id}/{(first - 1) // PAGE:010d}"
