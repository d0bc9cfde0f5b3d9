"""Which boxes the hub had made, where and for whom: records that outlive every hub."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

from context_store.backend import Collection, Record, Records
from context_store.documents import encode
from context_store.store import Scope
from schemas.box import LiveBox, SpawnRequest
from schemas.errors import AlreadyExists, IdempotencyConflict, RevisionConflict
from schemas.tree import blob_hash

SPAWNED: Final = Collection("spawned_boxes", indexes=("state", "ended_at"))
KEPT_S: Final = 24 * 3600.0

State = Literal["starting", "ready", "ended"]


@dataclass(frozen=True)
class Spawned:
    """One box. ``node`` is decided before the node is asked, so whoever asks again asks the same one.

    ``owner_instances`` are the processes that answered at the owner's address when the box was asked for.
    """

    id: str
    digest: str
    state: State
    node: str = ""
    owner: str = ""
    owner_instances: tuple[str, ...] = ()
    deadline_at: float = 0.0  # of a start
    ended_at: float | None = None
    reason: str = ""
    box: LiveBox | None = None
    revision: int = 0

    def to_document(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "state": self.state,
            "node": self.node,
            "owner": self.owner,
            "owner_instances": list(self.owner_instances),
            "deadline_at": self.deadline_at,
            "ended_at": self.ended_at,
            "reason": self.reason,
            "box": self.box.wire() if self.box else None,
        }

    @classmethod
    def of(cls, record: Record) -> Self:
        doc = dict(record.doc)
        box = doc.pop("box")
        instances = tuple(doc.pop("owner_instances"))
        return cls(
            id=record.key,
            revision=record.revision,
            box=LiveBox.model_validate(box) if box else None,
            owner_instances=instances,
            **doc,
        )


class SpawnedBoxes:
    """The records of one tenant; every change is a compare-and-set."""

    def __init__(self, scope: Scope) -> None:
        self._records: Records = scope.records(SPAWNED)

    async def get(self, id: str) -> Spawned | None:
        record = await self._records.get(id)
        return Spawned.of(record) if record else None

    async def claim(self, wanted: Spawned) -> Spawned:
        """The record to work with: ``wanted`` if there was none, or an ended one; else the one that is there.

        Raises `IdempotencyConflict` when a box of that id lives that was asked for differently.
        """
        while True:
            try:
                revision = await self._records.insert(wanted.id, wanted.to_document())
                return replace(wanted, revision=revision)
            except AlreadyExists:
                found = await self.get(wanted.id)
            if found is None:
                continue  # removed this very moment
            if found.state != "ended":
                if found.digest != wanted.digest:
                    raise IdempotencyConflict(
                        f"box {wanted.id!r} runs already and was asked for differently; choose another id",
                        box=wanted.id,
                    )
                return found
            if (written := await self.put(replace(wanted, revision=found.revision))) is not None:
                return written

    async def put(self, spawned: Spawned) -> Spawned | None:
        """Store a newer version of what was read; ``None`` when another was faster."""
        try:
            revision = await self._records.replace(spawned.id, spawned.to_document(), expected=spawned.revision)
        except RevisionConflict:
            return None
        return replace(spawned, revision=revision)

    async def end(self, id: str, reason: str, *, revision: int | None = None) -> Spawned | None:
        """Note that the box has ended, if it has not and (with ``revision``) is still as it was read."""
        while True:
            found = await self.get(id)
            if found is None or found.state == "ended" or (revision is not None and found.revision != revision):
                return found
            box = found.box.model_copy(update={"state": "stopped", "reason": reason}) if found.box else None
            ended = replace(found, state="ended", ended_at=time.time(), reason=reason, box=box)
            if (written := await self.put(ended)) is not None:
                return written

    async def active(self) -> list[Spawned]:
        """Every box that has not ended. O(live boxes)."""
        found: list[Spawned] = []
        after: Record | None = None
        while page := await self._records.find({"state": ("starting", "ready")}, after=after, limit=500):
            found += [Spawned.of(record) for record in page]
            after = page[-1]
        return found

    async def purge(self, *, older_than_s: float = KEPT_S) -> int:
        """Forget boxes that ended so long ago; returns how many."""
        page = await self._records.find({"state": "ended"}, order="ended_at", limit=500)
        old = [r for r in page if (r.doc["ended_at"] or 0) < time.time() - older_than_s]
        for record in old:
            try:
                await self._records.delete(record.key, expected=record.revision)
            except RevisionConflict:
                pass  # its id is in use again
        return len(old)


def digest_of(request: SpawnRequest) -> str:
    """What makes two requests of one id the same: everything but how long the caller waits and who asks."""
    asked = request.model_copy(update={"timeout_s": 0.0, "owner": ""})
    return blob_hash(encode(asked.wire()).encode())
