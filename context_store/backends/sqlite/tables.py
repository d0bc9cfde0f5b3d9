"""Tables, columns and indexes of a collection; everything that is missing is added, nothing is dropped.

Indexed fields have columns of their own, filled from Python, rather than indexes on ``json_extract``: its
floating-point parser is not exact, so an equal value might not be found.
"""

# ruff: noqa: S608 - table and field names come from a `Collection`, which checks them; values are parameters

from __future__ import annotations

import sqlite3

from context_store.backend import Collection
from context_store.backends.sqlite.text import ensure_text, has_fts5
from context_store.documents import decode, prepare
from schemas.errors import Conflict


def table(collection: Collection) -> str:
    return f'"c_{collection.name}"'


def column(field: str) -> str:
    return f'"f_{field}"'


def ensure(connection: sqlite3.Connection, collection: Collection) -> None:
    """Make the table as ``collection`` wants it. Runs inside a write transaction, so processes do not race."""
    name = table(collection)
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {name} (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, key TEXT NOT NULL, "
        "revision INTEGER NOT NULL, doc TEXT NOT NULL, text TEXT, UNIQUE (tenant, key))"
    )
    present = {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
    missing = [f for f in collection.fields if f"f_{f}" not in present]
    for field in missing:
        connection.execute(f"ALTER TABLE {name} ADD COLUMN {column(field)}")
    new_text = collection.text is not None and not has_text(connection, collection)
    if missing or new_text:
        _fill(connection, collection)
    for field in collection.fields:
        connection.execute(
            f'CREATE INDEX IF NOT EXISTS "i_{collection.name}_{field}" ON {name} (tenant, {column(field)}, key)'
        )
    for field in collection.unique:
        _unique(connection, collection, field)
    if collection.text is not None:
        ensure_text(connection, table(collection), collection.name)


def has_text(connection: sqlite3.Connection, collection: Collection) -> bool:
    """Whether the text column has been filled before."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (f"x_{collection.name}",)).fetchone()
    return found is not None or not has_fts5(connection)


def _unique(connection: sqlite3.Connection, collection: Collection, field: str) -> None:
    try:
        connection.execute(
            f'CREATE UNIQUE INDEX IF NOT EXISTS "u_{collection.name}_{field}" '
            f"ON {table(collection)} (tenant, {column(field)})"
        )
    except sqlite3.IntegrityError as error:
        raise Conflict(f"{collection.name}.{field} cannot become unique: stored records share a value") from error


def _fill(connection: sqlite3.Connection, collection: Collection) -> None:
    """Fill the new columns from the stored documents. O(records), once per added field."""
    assignments = ", ".join([*(f"{column(f)} = ?" for f in collection.fields), "text = ?"])
    rows = connection.execute(f"SELECT id, doc FROM {table(collection)}").fetchall()
    for row_id, doc in rows:
        prepared = prepare(collection, decode(doc))
        connection.execute(
            f"UPDATE {table(collection)} SET {assignments} WHERE id = ?", (*prepared.fields, prepared.text, row_id)
        )
