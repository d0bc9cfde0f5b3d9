"""Registered Boxes: what a task or a spawn request may name."""

from __future__ import annotations

from typing import Final

from context_store.backend import Collection
from context_store.documents import encode
from context_store.store import Scope
from schemas.box import BoxDefinition, blobs_of, codes_of
from schemas.errors import AlreadyExists, BlobNotFound, InvalidInput, PayloadTooLarge
from schemas.ids import check_name
from schemas.model import timestamp
from schemas.subjects import token

DEFINITIONS: Final = Collection("box_definitions", indexes=("registered_at",))


class Definitions:
    """The definitions of one tenant, one per name: the newest."""

    def __init__(self, scope: Scope, *, max_bytes: int) -> None:
        self._records = scope.records(DEFINITIONS)
        self._blobs = scope.blobs
        self._max_bytes = max_bytes

    async def put(self, definition: BoxDefinition) -> BoxDefinition:
        """Store it under its name, in place of an older one; again with the same content changes nothing."""
        await self.check(definition)
        doc = {"definition": definition.wire(), "registered_at": timestamp()}
        try:
            await self._records.insert(definition.name, doc)
        except AlreadyExists:
            await self._records.update(
                definition.name, lambda old: None if old["definition"] == doc["definition"] else doc
            )
        return definition

    async def get(self, name: str) -> BoxDefinition | None:
        record = await self._records.get(name)
        return BoxDefinition.model_validate(record.doc["definition"]) if record else None

    async def list(self, limit: int) -> list[BoxDefinition]:
        """The most recently registered first."""
        found = await self._records.find(order="-registered_at", limit=limit)
        return [BoxDefinition.model_validate(record.doc["definition"]) for record in found]

    async def check(self, definition: BoxDefinition) -> None:
        """Whether it can be made at all. Raises `InvalidInput`, `PayloadTooLarge`, `BlobNotFound` for its blobs."""
        check_name(definition.name, "box")
        size = len(encode(definition.wire()))
        if size > self._max_bytes:
            raise PayloadTooLarge(
                f"the definition of {definition.name!r} has {size} bytes, {self._max_bytes} are allowed; "
                "large files belong into blobs",
                size_bytes=size,
                limit_bytes=self._max_bytes,
            )
        if not definition.fingerprint:
            raise InvalidInput(f"box {definition.name!r} comes without a fingerprint", box=definition.name)
        names = [token(skill.name) for skill in definition.skills]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInput(f"box {definition.name!r} has two skills called {', '.join(twice)}", box=definition.name)
        if definition.skills and not codes_of(definition):
            raise InvalidInput(f"box {definition.name!r} has skills and no code", box=definition.name)
        missing = await self._blobs.missing(blobs_of(definition))
        if missing:
            raise BlobNotFound(
                f"box {definition.name!r} needs {len(missing)} blobs that are not stored; put them first",
                box=definition.name,
                hashes=missing[:100],
            )
