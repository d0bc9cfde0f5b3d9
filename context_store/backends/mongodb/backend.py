"""Connecting, deadlines, retries, indexes of a collection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING
from pymongo.errors import PyMongoError

from context_store.backend import Backend, Collection
from context_store.backends.mongodb.claims import CLAIMS, Claims
from context_store.backends.mongodb.failures import is_duplicate, may_pass, translate
from context_store.backends.mongodb.layout import field_name, index_version, to_bson
from context_store.backends.mongodb.records import MongoRecords
from context_store.documents import decode, prepare
from schemas.errors import Conflict, InvalidInput, StoreUnavailable
from schemas.ids import check_name

T = TypeVar("T")

_PAUSE_S: Final = 0.05


class MongoBackend(Backend):
    """Records in one MongoDB database; any number of processes may share it.

    ``timeout_s`` bounds every operation: a server that comes back within it costs time only, since an operation
    whose connection broke is tried again and recognises its own write; later it is `StoreUnavailable`. Writes are
    acknowledged by a majority. FerretDB 1 works too, see `claims` for what it costs.
    """

    def __init__(self, url: str, database: str = "boxhub", *, timeout_s: float = 5.0) -> None:
        self._url = url
        self._database_name = database
        self.timeout_s = timeout_s
        self._client: AsyncIOMotorClient[Any] | None = None
        self._database: AsyncIOMotorDatabase[Any] | None = None
        self._ensured: set[Collection] = set()
        self._state: Literal["new", "open", "closed"] = "new"
        self.claims: Claims | None = None
        # For error messages: the URL may hold a password.
        self.where = f"MongoDB at {url.rpartition('@')[2].rpartition('//')[2].partition('/')[0]}"

    def records(self, tenant: str, collection: Collection) -> MongoRecords:
        if collection.name == CLAIMS:
            raise InvalidInput(f"the collection {CLAIMS!r} belongs to the adapter; choose another name")
        return MongoRecords(self, check_name(tenant, "tenant"), collection)

    async def open(self) -> None:
        if self._state != "new":
            raise StoreUnavailable("the backend has been opened before; make a new one")
        milliseconds = int(self.timeout_s * 1000)
        try:
            self._client = AsyncIOMotorClient(
                self._url,
                appname="boxhub",
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                socketTimeoutMS=milliseconds,
                waitQueueTimeoutMS=milliseconds,
                w="majority",
            )
        except (PyMongoError, ValueError) as error:  # ValueError: a port that is no number
            raise InvalidInput(f"the MongoDB URL cannot be used: {error}") from error
        self._database = self._client[self._database_name]
        self._state = "open"
        try:
            information = await self.retrying(lambda _: self.database.client.admin.command("buildInfo"))
        except BaseException:
            await self.aclose()
            raise
        if "ferretdbVersion" in information:  # FerretDB 1; its successor writes atomically
            self.claims = Claims(self.database[CLAIMS], lease_s=min(2.0, self.timeout_s / 2.5))

    async def aclose(self) -> None:
        self._state = "closed"
        client, self._client, self._database = self._client, None, None
        if client is not None:
            # In a thread: it says goodbye to the server, and waits for the answer of one that is deaf.
            await asyncio.shield(asyncio.to_thread(client.close))

    async def ping(self) -> None:
        await self.retrying(lambda _: self.database.command("ping"))

    async def changes(self) -> object | None:
        return None  # change streams need a replica set

    @property
    def database(self) -> AsyncIOMotorDatabase[Any]:
        if self._database is None:
            raise StoreUnavailable(f"{self.where} is {'closed' if self._state == 'closed' else 'not open yet'}")
        return self._database

    async def collection(self, collection: Collection) -> AsyncIOMotorCollection[Any]:
        """The server's collection, its indexes made."""
        found: AsyncIOMotorCollection[Any] = self.database[collection.name]
        if collection not in self._ensured:
            await self.retrying(lambda _: self._ensure(found, collection))
            self._ensured.add(collection)
        return found

    async def retrying(self, operation: Callable[[int], Awaitable[T]]) -> T:
        """Run an operation until it gets through, at most ``timeout_s``. It is given the number of the try, from 0."""
        deadline = time.monotonic() + self.timeout_s
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(max(0.001, deadline - time.monotonic())):
                    return await operation(attempt)
            except TimeoutError as error:
                raise StoreUnavailable(f"{self.where} did not answer within {self.timeout_s} s") from error
            except PyMongoError as error:
                if self._state == "closed":  # under way when it was: the client then says anything
                    raise StoreUnavailable(f"{self.where} is closed") from error
                if not may_pass(error) or time.monotonic() + _PAUSE_S > deadline:
                    raise translate(error, self.where) from error
            attempt += 1
            await asyncio.sleep(_PAUSE_S)

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _ensure(self, found: AsyncIOMotorCollection[Any], collection: Collection) -> None:
        """Make what is missing, then index records that were written when fewer fields were indexed."""
        await found.create_index([("i", ASCENDING)])
        for field in collection.fields:
            await found.create_index([("t", ASCENDING), (f"f.{field_name(field)}", ASCENDING), ("_id", ASCENDING)])
        await self._index_again(found, collection)
        for field in collection.unique:
            try:
                await found.create_index([(f"u.{field_name(field)}", ASCENDING)], unique=True)
            except PyMongoError as error:
                if is_duplicate(error):
                    name = f"{collection.name}.{field}"
                    raise Conflict(f"{name} cannot become unique: stored records share a value") from error
                raise

    async def _index_again(self, found: AsyncIOMotorCollection[Any], collection: Collection) -> None:
        stale = {"i": {"$ne": index_version(collection)}}
        async for old in found.find(stale):
            tenant, _, key = old["_id"].partition("/")
            prepared = prepare(collection, decode(old["d"]))
            new = to_bson(collection, tenant, key, prepared, revision=old["r"], token=old["w"])
            # One that is changed meanwhile is indexed by that change.
            await found.replace_one({"_id": old["_id"], "r": old["r"]}, new)
