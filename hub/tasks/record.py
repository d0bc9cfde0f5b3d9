"""A task as it lies in the store: the record everyone sees and what only the engine needs, in ONE document.

The newest updates travel inside the record (`tail`), so a transition and the updates that tell of it are one
compare-and-set: numbers have no holes whatever is killed when. Older ones move to pages (`hub.tasks.history`).
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec
from pydantic import Field

from context_store.backend import Collection
from schemas.task import TaskRecord, TaskSpec, TaskUpdate

Phase = Literal["queued", "held", "done"]
"""``queued``: waits for a place. ``held``: an attempt has the lease. ``done``: terminal."""

NEVER: Final = 1e18
"""A time that does not come: what an index holds where there is no deadline."""

MAX_PRIORITY: Final = 10**9

TASKS: Final = Collection(
    "tasks", indexes=("state", "created_at", "due_at", "queue", "runner", "spec.parent", "spec.box", "spec.branch")
)
"""``queue`` is set while queued, ``runner`` while held; both are null otherwise, and nulls come last downwards."""
PAGES: Final = Collection("task_updates")
"""Updates that left the record, in pages; the key is the task and the number of the page."""


class StoredTask(TaskRecord):
    """The document. Treat it as immutable: `hub.tasks.state` makes new ones."""

    tail: list[TaskUpdate] = Field(default_factory=list)  # the newest updates, those that are in no page
    first_kept: int = 1  # number of the oldest update that is still kept
    seen_upto: int = 0  # reports 1..this of the newest attempt are applied
    seen: list[int] = Field(default_factory=list)  # and these beyond
    cascade: bool = False  # cancelled, and the children are not all told yet

    @property
    def phase(self) -> Phase:
        if self.terminal:
            return "done"
        return "queued" if self.live_attempt is None else "held"

    def public(self) -> TaskRecord:
        """The record without the engine's own fields."""
        return TaskRecord.model_construct(**{name: getattr(self, name) for name in TaskRecord.model_fields})

    def to_document(self, due_at: float) -> dict[str, Any]:
        """The document with its index fields. ``due_at``: when time alone changes something, or `NEVER`."""
        document = self.wire()
        document["state"] = self.state
        document["created_at"] = self.created_at
        document["due_at"] = due_at
        attempt = self.live_attempt
        if attempt is not None:
            document["runner"] = attempt.runner
        elif not self.terminal:
            document["queue"] = queue_key(self)
        return document


def queue_key(task: TaskRecord) -> str:
    """Read downwards it is the order of the queue: higher priority first, then older first."""
    priority = max(-MAX_PRIORITY, min(MAX_PRIORITY, task.spec.priority))
    return f"{priority + MAX_PRIORITY:010d}.{10**11 - task.created_at:018.6f}"


def digest(spec: TaskSpec) -> str:
    """Hash of what is to be done, whatever its id: equal content, equal digest."""
    content = spec.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
