"""Search in the text column: FTS5 with trigrams, which finds what occurs anywhere in a word, as a scan would."""

# ruff: noqa: S608 - table and field names come from a `Collection`, which checks them; values are parameters

from __future__ import annotations

import sqlite3
from functools import cache
from typing import Final

_TRIGRAM: Final = 3


def has_fts5(connection: sqlite3.Connection) -> bool:
    return _has_fts5()


@cache
def _has_fts5() -> bool:
    """Whether this SQLite has FTS5 with the trigram tokenizer (3.34)."""
    probe = sqlite3.connect(":memory:")
    try:
        probe.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='trigram case_sensitive 1')")
    except sqlite3.OperationalError:
        return False
    finally:
        probe.close()
    return True


def ensure_text(connection: sqlite3.Connection, table: str, name: str) -> None:
    """An index over the text column, kept by triggers, so it changes in the same statement as the record."""
    if not has_fts5(connection):
        return
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (f"x_{name}",)).fetchone()
    if known:
        return
    index = f'"x_{name}"'
    connection.execute(
        f"CREATE VIRTUAL TABLE {index} USING "
        f"fts5(text, content={table}, content_rowid=id, tokenize='trigram case_sensitive 1')"
    )
    connection.execute(f"INSERT INTO {index}({index}) VALUES ('rebuild')")
    add = f"INSERT INTO {index}(rowid, text) VALUES (new.id, new.text);"
    remove = f"INSERT INTO {index}({index}, rowid, text) VALUES ('delete', old.id, old.text);"
    connection.execute(f'CREATE TRIGGER "x_{name}_i" AFTER INSERT ON {table} BEGIN {add} END')
    connection.execute(f'CREATE TRIGGER "x_{name}_d" AFTER DELETE ON {table} BEGIN {remove} END')
    connection.execute(
        f'CREATE TRIGGER "x_{name}_u" AFTER UPDATE OF text ON {table} '
        f"WHEN old.text IS NOT new.text BEGIN {remove} {add} END"
    )


def condition(name: str, words: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """SQL conditions and their parameters: every word occurs in the text."""
    indexed = [w for w in words if len(w) >= _TRIGRAM] if _has_fts5() else []
    conditions, parameters = [], []
    if indexed:
        conditions.append(f'id IN (SELECT rowid FROM "x_{name}" WHERE "x_{name}" MATCH ?)')
        parameters.append(" AND ".join('"' + w.replace('"', '""') + '"' for w in indexed))
    for word in words:
        if word not in indexed:
            conditions.append("instr(text, ?) > 0")
            parameters.append(word)
    return conditions, parameters
