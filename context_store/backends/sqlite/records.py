"""The statements: each write is one statement, so it happens as a whole or not at all."""

# ruff: noqa: S608 - table and field names come from a `Collection`, which checks them; values are parameters

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from context_store.backend import Collection, Document, Record, Records, Where
from context_store.backends.sqlite import text as search
from context_store.backends.sqlite.failures import unique_field
from context_store.backends.sqlite.tables import column, table
from context_store.documents import Query, check_key, decode, prepare, query
from schemas.errors import AlreadyExists, RevisionConflict

if TYPE_CHECKING:
    from context_store.backends.sqlite.backend import SqliteBackend


class SqliteRecords(Records):
    """Records in one table of the file."""

    def __init__(self, backend: SqliteBackend, tenant: str, collection: Collection) -> None:
        self._backend = backend
        self.tenant = tenant
        self.collection = collection
        name, fields = table(collection), collection.fields
        columns = "".join(f", {column(f)}" for f in fields)
        assignments = "".join(f", {column(f)} = ?" for f in fields)
        marks = ", ?" * len(fields)
        self._insert = f"INSERT INTO {name} (tenant, key, revision, doc, text{columns}) VALUES (?, ?, ?, ?, ?{marks})"
        self._get = f"SELECT revision, doc FROM {name} WHERE tenant = ? AND key = ?"
        self._replace = (
            f"UPDATE {name} SET revision = revision + 1, doc = ?, text = ?{assignments} "
            "WHERE tenant = ? AND key = ? AND revision = ?"
        )
        self._delete = f"DELETE FROM {name} WHERE tenant = ? AND key = ?"
        self._revision = f"SELECT revision FROM {name} WHERE tenant = ? AND key = ?"

    async def insert(self, key: str, doc: Document, *, revision: int = 1) -> int:
        check_key(key)
        prepared = prepare(self.collection, doc)

        def work(connection: sqlite3.Connection) -> int:
            row = (self.tenant, key, revision, prepared.json, prepared.text, *prepared.fields)
            self._execute(connection, key, self._insert, row)
            return revision

        return await self._backend.write(self.collection, work)

    async def get(self, key: str) -> Record | None:
        check_key(key)

        def work(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute(self._get, (self.tenant, key)).fetchone()
            return Record(key, row[0], decode(row[1])) if row else None

        return await self._backend.read(self.collection, work)

    async def replace(self, key: str, doc: Document, *, expected: int) -> int:
        check_key(key)
        prepared = prepare(self.collection, doc)

        def work(connection: sqlite3.Connection) -> int:
            row = (prepared.json, prepared.text, *prepared.fields, self.tenant, key, expected)
            if not self._execute(connection, key, self._replace, row):
                raise self._conflict(connection, key, expected)
            return expected + 1

        return await self._backend.write(self.collection, work)

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        check_key(key)

        def work(connection: sqlite3.Connection) -> bool:
            if expected is None:
                return connection.execute(self._delete, (self.tenant, key)).rowcount > 0
            if not connection.execute(self._delete + " AND revision = ?", (self.tenant, key, expected)).rowcount:
                raise self._conflict(connection, key, expected)
            return True

        return await self._backend.write(self.collection, work)

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
        statement, parameters = self._select(checked)

        def work(connection: sqlite3.Connection) -> list[Record]:
            rows = connection.execute(statement, parameters)
            return [Record(key, revision, decode(doc)) for key, revision, doc in rows]

        return await self._backend.read(self.collection, work)

    def _select(self, wanted: Query) -> tuple[str, list[Any]]:
        conditions, parameters = ["tenant = ?"], [self.tenant]

        def add(condition: str, *values: Any) -> None:
            conditions.append(condition)
            parameters.extend(values)

        for field, values in wanted.where:
            some = [v for v in values if v is not None]
            name = f"+{column(field)}" if wanted.words else column(field)  # the words find fewer rows
            among = f"{name} IN ({', '.join('?' * len(some))})"
            null = f"{name} IS NULL"
            add(among if None not in values else null if not some else f"({among} OR {null})", *some)
        if wanted.from_key is not None:
            add("key >= ?", wanted.from_key)
        if wanted.until_key is not None:
            add("key < ?", wanted.until_key)
        beyond = "<" if wanted.descending else ">"
        if wanted.after_key is not None and wanted.by is None:
            add(f"key {beyond} ?", wanted.after_key)
        elif wanted.after_key is not None:
            self._after_field(wanted, beyond, add)
        if wanted.words:
            more, words = search.condition(self.collection.name, wanted.words)
            add(" AND ".join(more), *words)
        direction = " DESC" if wanted.descending else ""
        # Without statistics the planner would walk the whole table in order rather than sort a few rows; a plus
        # keeps it from using the index for the order.
        several = wanted.by is None and any(len(values) > 1 for _, values in wanted.where)
        plus = "+" if several or wanted.words else ""
        by = f"{plus}{column(wanted.by)}{direction}, " if wanted.by else ""
        statement = (
            f"SELECT key, revision, doc FROM {table(self.collection)} WHERE {' AND '.join(conditions)} "
            f"ORDER BY {by}{plus}key{direction} LIMIT ?"
        )
        return statement, [*parameters, wanted.limit]

    @staticmethod
    def _after_field(wanted: Query, beyond: str, add: Any) -> None:
        """Everything behind the last record of the page before; null is the smallest value."""
        assert wanted.by is not None
        name, value, key = column(wanted.by), wanted.after_value, wanted.after_key
        if value is not None:
            null = f" OR {name} IS NULL" if wanted.descending else ""
            add(f"({name} {beyond} ?{null} OR ({name} = ? AND key {beyond} ?))", value, value, key)
        elif wanted.descending:
            add(f"({name} IS NULL AND key < ?)", key)
        else:
            add(f"({name} IS NOT NULL OR key > ?)", key)

    def _execute(self, connection: sqlite3.Connection, key: str, statement: str, row: tuple[Any, ...]) -> int:
        """Rows changed. Raises `AlreadyExists`."""
        try:
            return connection.execute(statement, row).rowcount
        except sqlite3.IntegrityError as error:
            field = unique_field(error)
            what = f"{key!r}" if not field else f"the value of unique field {field!r} of {key!r}"
            message = f"{self.collection.name}: {what} is already stored"
            raise AlreadyExists(message, key=key, field=field) from error

    def _conflict(self, connection: sqlite3.Connection, key: str, expected: int) -> RevisionConflict:
        row = connection.execute(self._revision, (self.tenant, key)).fetchone()
        actual = row[0] if row else None
        return RevisionConflict(
            f"{self.collection.name}: {key!r} is at revision {actual}, not {expected}",
            key=key,
            expected=expected,
            actual=actual,
        )
