"""What only the SQLite adapter promises: group commit, its bounds, damaged and locked files."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from context_store.backend import Collection
from context_store.backends.sqlite import SqliteBackend
from schemas.errors import AlreadyExists, IntegrityError, Overloaded, RevisionConflict, StoreUnavailable

THINGS = Collection("things", indexes=("state",), unique=("name",), text="body")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store.db"


async def test_waiting_writes_share_a_transaction_and_each_gets_its_own_outcome(path):
    async with SqliteBackend(path) as backend:
        records = backend.records("default", THINGS)
        await records.insert("k", {"name": "n"})
        statements: list[str] = []
        await backend._writer.run(lambda connection: connection.set_trace_callback(statements.append))
        outcomes = await asyncio.gather(
            *(records.insert(f"k{n}", {"name": f"n{n}"}) for n in range(100)),
            records.insert("k", {}),
            records.insert("x", {"name": "n"}),
            records.replace("k", {}, expected=9),
            records.replace("k", {"state": "done"}, expected=1),
            records.insert("after", {}),
            return_exceptions=True,
        )
        assert [type(o) for o in outcomes[100:]] == [AlreadyExists, AlreadyExists, RevisionConflict, int, int]
        assert outcomes[:100] == [1] * 100
        assert len(await records.find(limit=1000)) == 102
        # One group was under way when the rest queued up, at most; not 105 transactions.
        assert statements.count("COMMIT") <= 4


async def test_more_than_may_wait_is_refused(path):
    async with SqliteBackend(path, max_pending=50) as backend:
        records = backend.records("default", THINGS)
        await records.get("warm-up")
        outcomes = await asyncio.gather(*(records.insert(f"k{n}", {}) for n in range(500)), return_exceptions=True)
        refused = [o for o in outcomes if isinstance(o, Overloaded)]
        stored = await records.find(limit=1000)
        assert len(stored) + len(refused) == 500
        assert refused


async def test_closing_finishes_what_waits_and_folds_the_log_back(path):
    backend = SqliteBackend(path)
    await backend.open()
    records = backend.records("default", THINGS)
    await records.get("warm-up")
    writes = [asyncio.ensure_future(records.insert(f"k{n}", {})) for n in range(200)]
    await asyncio.sleep(0)
    await backend.aclose()
    assert await asyncio.gather(*writes) == [1] * 200
    assert [p.name for p in path.parent.iterdir()] == ["store.db"]
    async with SqliteBackend(path) as again:
        assert len(await again.records("default", THINGS).find(limit=1000)) == 200


async def test_a_locked_file_is_unavailable_and_recovers(path):
    async with SqliteBackend(path, busy_timeout_s=0.05) as backend:
        records = backend.records("default", THINGS)
        await records.insert("a", {})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await records.insert("b", {})
        assert (await records.get("a")).revision == 1  # readers do not wait for writers
        other.execute("ROLLBACK")
        other.close()
        assert await records.insert("b", {}) == 1


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to look like one" * 20])
async def test_a_file_that_is_no_database(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        await SqliteBackend(path).open()
    assert path.read_bytes() == content


async def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        await SqliteBackend(tmp_path / "file" / "store.db").open()


async def test_full_durability_is_a_setting(path):
    async with SqliteBackend(path, synchronous="FULL") as backend:
        await backend.records("default", THINGS).insert("a", {})
        found = await backend._writer.run(lambda c: c.execute("PRAGMA synchronous").fetchone()[0])
    assert found == 2


async def test_changes_is_still_while_nothing_happens(path):
    async with SqliteBackend(path) as backend, SqliteBackend(path) as other:
        records = backend.records("default", THINGS)
        await records.insert("a", {})
        first = await backend.changes()
        await records.get("a")
        assert await backend.changes() == first
        await records.replace("a", {}, expected=1)
        second = await backend.changes()
        assert second != first
        await other.records("default", THINGS).insert("b", {})
        assert await backend.changes() != second


async def test_reads_go_on_while_one_is_slow(path):
    async with SqliteBackend(path) as backend:
        records = backend.records("default", THINGS)
        await records.insert("a", {})
        slow = (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT count(*) FROM n"
        )
        reading = asyncio.ensure_future(backend.read(THINGS, lambda c: c.execute(slow).fetchone()))
        await asyncio.sleep(0)
        for _ in range(5):
            await records.get("a")
        assert not reading.done()
        assert (await reading)[0] == 3_000_000


async def test_a_bug_in_one_job_stays_with_its_caller(path):
    async with SqliteBackend(path) as backend:

        def bug(connection: sqlite3.Connection) -> int:
            return 1 // 0

        with pytest.raises(ZeroDivisionError):
            await backend.write(THINGS, bug)
        assert await backend.records("default", THINGS).insert("a", {}) == 1
