"""The port for records: JSON documents with a revision, changed by compare-and-set only.

An adapter promises, and the conformance suite holds it to:

- one record changes as a whole or not at all; a reader never sees half of a write;
- of several callers that race to insert a key, to insert a unique value or to replace a revision, the
  *database* lets exactly one win, also when they are in different processes;
- a write that returned survives the death of this process; a read that starts after it sees it;
- a write whose caller was cancelled, or got `StoreUnavailable`, happened or did not: read to find out;
- nothing waits for ever: an unreachable database is `StoreUnavailable` within the adapter's deadline.
"""

from __future__ import annotations

import asyncio
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from schemas.errors import InvalidInput, NotFound, RevisionConflict

Scalar = str | int | float | bool | None
Document = dict[str, Any]
Where = Mapping[str, Scalar | tuple[Scalar, ...]]

MAX_FIND: Final = 10_000

_COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}(\.[a-z][a-z0-9_]{0,39}){0,3}")


@dataclass(frozen=True)
class Collection:
    """A kind of record, and how it can be found.

    ``indexes`` and ``unique`` name fields of the documents, with dots for nested ones (``"spec.box"``); only
    those may be asked for in `Records.find`. Their values must be scalars; a missing field counts as null.
    ``unique`` values are unique within a tenant; nulls do not clash. ``text`` names one field that can be
    searched. A field may be added later: existing records are indexed when the collection is next opened.
    """

    name: str
    indexes: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    text: str | None = None
    fields: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if _COLLECTION.fullmatch(self.name) is None:
            raise InvalidInput(f"collection {self.name!r}: use 1-40 of a-z, 0-9 and '_', a letter first")
        object.__setattr__(self, "fields", tuple(dict.fromkeys(self.indexes + self.unique)))
        for name in (*self.fields, *([self.text] if self.text else [])):
            if _FIELD.fullmatch(name) is None:
                raise InvalidInput(f"collection {self.name!r}: {name!r} cannot name a field")


@dataclass(frozen=True)
class Record:
    """A document as it was at ``revision``. The document is the reader's own copy."""

    key: str
    revision: int
    doc: Document


class Records(ABC):
    """The records of one collection and one tenant. Cheap to make; holds no state of its own."""

    collection: Collection
    tenant: str

    @abstractmethod
    async def insert(self, key: str, doc: Document, *, revision: int = 1) -> int:
        """Store a new record and return its revision: 1, or the one given.

        Raises `AlreadyExists` when the key, or a value of a unique field, is taken; ``details["field"]`` says
        which (empty for the key).
        """

    @abstractmethod
    async def get(self, key: str) -> Record | None:
        """The record, or ``None``."""

    @abstractmethod
    async def replace(self, key: str, doc: Document, *, expected: int) -> int:
        """Store ``doc`` if the record is at revision ``expected``; returns the new revision, ``expected + 1``.

        Raises `RevisionConflict` (``details["actual"]``: the revision found, ``None`` if absent), `AlreadyExists`
        for a unique value.
        """

    @abstractmethod
    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Remove the record; False if it was absent. With ``expected``, raises `RevisionConflict` as `replace` does."""

    @abstractmethod
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
        """Up to ``limit`` (at most 10,000) records that match all conditions, in a total order.

        ``where``: field → value, or a tuple of values of which one must be equal; ``None`` is a missing or null
        field. ``prefix``: of the key. ``text``: every word occurs in the collection's text field, ignoring case.
        ``order``: ``"key"``, a field, or either with ``-`` for descending; records with equal fields are
        in key order (descending likewise), null before numbers before strings. ``after``: the last record of
        the page before; a bare key will do when the order is by key.
        Paging so gives every record that was not changed meanwhile exactly once.
        """

    async def update(self, key: str, change: Callable[[Document], Document | None], *, retries: int = 50) -> Record:
        """Read, change, replace; again when another was faster. Returns the record as stored.

        ``change`` gets a copy and returns the new document (the same, modified, will do), or leaves it untouched and
        returns ``None``: nothing to do. It may run several times; what it raises ends the update. Raises `NotFound`,
        and `RevisionConflict` when ``retries`` were not enough.
        """
        for attempt in range(retries + 1):
            record = await self.get(key)
            if record is None:
                raise NotFound(f"{self.collection.name}: no record {key!r}", key=key)
            doc = change(record.doc)
            if doc is None:
                return record
            try:
                return Record(key, await self.replace(key, doc, expected=record.revision), doc)
            except RevisionConflict:
                if attempt == retries:
                    raise
                # The first retry goes at once: with few writers it nearly always wins.
                await asyncio.sleep(random.random() * 0.001 * min(attempt, 20))
        raise AssertionError("unreachable: the last attempt returned or raised")


class Backend(ABC):
    """A database. Open and close it as an async context manager; closing twice, or unopened, is fine."""

    @abstractmethod
    def records(self, tenant: str, collection: Collection) -> Records:
        """Records of one tenant; does no I/O. Tables and indexes are made at the first operation."""

    @abstractmethod
    async def changes(self) -> object | None:
        """A token that differs from an earlier one whenever a record may have changed; ``None``: cannot say.

        Lets a poller skip the work when nothing happened.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Return when the database answers. Raises `StoreUnavailable` within the deadline."""

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let running operations end, then release everything. Later operations raise `StoreUnavailable`."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
