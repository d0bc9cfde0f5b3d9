"""The operations. Each changes one document, with the revision in the filter: that is the compare-and-set.

A write whose connection broke may have happened. It is tried again with the same token, so it knows its own
work when it finds it. When others have written on top of it, or the deadline passes, the caller has to look.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from context_store.backend import Collection, Document, Record, Records, Where
from context_store.backends.mongodb import queries
from context_store.backends.mongodb.failures import is_duplicate
from context_store.backends.mongodb.layout import record_id, to_bson, to_record
from context_store.documents import check_key, prepare, query
from schemas.errors import AlreadyExists, RevisionConflict, StoreUnavailable
from schemas.ids import new_id

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

    from context_store.backends.mongodb.backend import MongoBackend


class MongoRecords(Records):
    """Records in one collection of the database."""

    def __init__(self, backend: MongoBackend, tenant: str, collection: Collection) -> None:
        self._backend = backend
        self.tenant = tenant
        self.collection = collection

    async def insert(self, key: str, doc: Document, *, revision: int = 1) -> int:
        check_key(key)
        prepared = prepare(self.collection, doc)
        bson = to_bson(self.collection, self.tenant, key, prepared, revision=revision, token=new_id("w"))
        found = await self._backend.collection(self.collection)

        async def once(attempt: int) -> int:
            try:
                await found.insert_one(bson)
            except PyMongoError as error:
                if not is_duplicate(error):
                    raise
                present = await found.find_one({"_id": bson["_id"]})
                if attempt and present is not None:
                    if present["w"] == bson["w"]:
                        return revision
                    if present["r"] > revision:
                        raise self._unknown(key) from error
                raise self._taken(key, own_key=present is not None) from error
            return revision

        return await self._backend.retrying(once)

    async def get(self, key: str) -> Record | None:
        check_key(key)
        found = await self._backend.collection(self.collection)
        bson = await self._backend.retrying(lambda _: found.find_one({"_id": record_id(self.tenant, key)}))
        return to_record(bson) if bson is not None else None

    async def replace(self, key: str, doc: Document, *, expected: int) -> int:
        check_key(key)
        prepared = prepare(self.collection, doc)
        bson = to_bson(self.collection, self.tenant, key, prepared, revision=expected + 1, token=new_id("w"))
        found = await self._backend.collection(self.collection)

        async def once(attempt: int) -> int:
            try:
                if await self._replace(found, bson, expected):
                    return expected + 1
            except PyMongoError as error:
                if is_duplicate(error):
                    raise self._taken(key, own_key=False) from error
                raise
            present = await found.find_one({"_id": bson["_id"]})
            if attempt and present is not None:
                if present["w"] == bson["w"]:
                    return expected + 1
                if present["r"] > expected + 1:
                    raise self._unknown(key)
            raise self._conflict(key, expected, present)

        return await self._backend.retrying(once)

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        check_key(key)
        id = record_id(self.tenant, key)
        found = await self._backend.collection(self.collection)

        async def once(attempt: int) -> bool:
            if expected is None:
                # Deleted by an earlier try whose answer was lost, or by another: the record is gone either way.
                return (await found.delete_one({"_id": id})).deleted_count > 0 or attempt > 0
            if await self._delete(found, id, expected):
                return True
            present = await found.find_one({"_id": id})
            if attempt and present is None:
                return True
            if attempt and present is not None and present["r"] < expected:
                raise self._unknown(key)
            raise self._conflict(key, expected, present)

        return await self._backend.retrying(once)

    async def find(
        self,
        where: Where | None = None,
        *,
        prefix: str | None = None,
        after: Record | str | None = None,
        limit: int = 100,
        order: str = "key",
        text: str | None = None,
    ) -> list[Record]:
        checked = query(self.collection, where, prefix, after, limit, order, text)
        wanted, sort = queries.build(self.tenant, checked)
        found = await self._backend.collection(self.collection)

        async def once(_: int) -> list[Record]:
            cursor = found.find(wanted, sort=sort, limit=limit, max_time_ms=int(self._backend.timeout_s * 1000))
            return [to_record(bson) for bson in await cursor.to_list(limit)]

        return await self._backend.retrying(once)

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _replace(self, found: AsyncIOMotorCollection[Any], bson: Document, expected: int) -> bool:
        """Compare-and-set; False if the record is at another revision, or absent."""
        if self._backend.claims is None:
            return (await found.replace_one({"_id": bson["_id"], "r": expected}, bson)).matched_count > 0
        async with self._backend.claims.on(self._claim(bson["_id"])) as stop_at:
            if not await self._is_at(found, bson["_id"], expected, stop_at):
                return False
            await found.replace_one({"_id": bson["_id"]}, bson)
            return True

    async def _delete(self, found: AsyncIOMotorCollection[Any], id: str, expected: int) -> bool:
        if self._backend.claims is None:
            return (await found.delete_one({"_id": id, "r": expected})).deleted_count > 0
        async with self._backend.claims.on(self._claim(id)) as stop_at:
            if not await self._is_at(found, id, expected, stop_at):
                return False
            return (await found.delete_one({"_id": id})).deleted_count > 0

    async def _is_at(self, found: AsyncIOMotorCollection[Any], id: str, expected: int, stop_at: float) -> bool:
        present = await found.find_one({"_id": id})
        if time.monotonic() > stop_at:
            raise StoreUnavailable(f"{self._backend.where} is too slow to write record {id!r} within its claim")
        return present is not None and present["r"] == expected

    def _unknown(self, key: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._backend.where}: the connection broke while {self.collection.name} {key!r} was written, and others "
            "wrote it since; read it to find out whether this write happened",
            key=key,
        )

    def _claim(self, id: str) -> str:
        return f"{self.collection.name}/{id}"

    def _taken(self, key: str, *, own_key: bool) -> AlreadyExists:
        # Which index refused it is said differently by each server; where there is one unique field, it is that.
        field = "" if own_key else ", ".join(self.collection.unique)
        what = f"{key!r}" if own_key else f"the value of unique field {field!r} of {key!r}"
        return AlreadyExists(f"{self.collection.name}: {what} is already stored", key=key, field=field)

    def _conflict(self, key: str, expected: int, present: Document | None) -> RevisionConflict:
        actual = present["r"] if present is not None else None
        return RevisionConflict(
            f"{self.collection.name}: {key!r} is at revision {actual}, not {expected}",
            key=key,
            expected=expected,
            actual=actual,
        )
