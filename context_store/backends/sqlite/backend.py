"""Opening, closing, which thread does what."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from context_store.backend import Backend, Collection
from context_store.backends.sqlite.records import SqliteRecords
from context_store.backends.sqlite.tables import ensure
from context_store.backends.sqlite.threads import ConnectionThread
from schemas.errors import StoreUnavailable
from schemas.ids import check_name

T = TypeVar("T")


class SqliteBackend(Backend):
    """Records in one SQLite file. Several processes on one machine may open the same file.

    ``synchronous="NORMAL"`` keeps every acknowledged write when this process dies, at any moment; when the
    machine loses power the last ones may be gone, the file stays consistent. ``"FULL"`` keeps them then too,
    at one disk flush per group of writes. A file locked by another process for ``busy_timeout_s`` is
    `StoreUnavailable`; more than ``max_pending`` waiting operations are `Overloaded`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        busy_timeout_s: float = 5.0,
        readers: int = 2,
        max_pending: int = 20_000,
    ) -> None:
        self.path = Path(path)
        self._synchronous = synchronous
        self._busy_timeout_s = busy_timeout_s
        self._writer = self._thread("writer", transaction=True, max_pending=max_pending)
        self._readers = [
            self._thread(f"reader-{n}", transaction=False, max_pending=max_pending) for n in range(readers)
        ]
        self._ensured: set[Collection] = set()
        self._state: Literal["new", "open", "closed"] = "new"

    def records(self, tenant: str, collection: Collection) -> SqliteRecords:
        return SqliteRecords(self, check_name(tenant, "tenant"), collection)

    async def open(self) -> None:
        if self._state != "new":
            raise StoreUnavailable(f"{self.path} has been opened before; make a new backend")
        await asyncio.to_thread(self._start)
        self._state = "open"

    async def aclose(self) -> None:
        was_open, self._state = self._state == "open", "closed"
        if was_open:
            # Shielded: a cancelled close must still end the threads and fold the log back into the file.
            await asyncio.shield(asyncio.to_thread(self._stop))

    async def ping(self) -> None:
        await self._reader().run(lambda connection: connection.execute("SELECT 1").fetchone())

    async def changes(self) -> object | None:
        # Counted per connection: always ask the same one, which never writes itself.
        self._check_open()
        found: int = await self._readers[0].run(
            lambda connection: connection.execute("PRAGMA data_version").fetchone()[0]
        )
        return found

    async def read(self, collection: Collection, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a reader thread."""
        if collection not in self._ensured:
            await self._ensure(collection)
        return await self._reader().run(work)

    async def write(self, collection: Collection, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one changing statement in the writer thread; returns after the commit."""
        if collection not in self._ensured:
            await self._ensure(collection)
        self._check_open()
        return await self._writer.run(work)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _thread(self, name: str, *, transaction: bool, max_pending: int) -> ConnectionThread:
        return ConnectionThread(
            f"{self.path.name}-{name}", self._connect, self.path, transaction=transaction, max_pending=max_pending
        )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._busy_timeout_s, isolation_level=None)
        try:
            self._use_wal(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA temp_store = MEMORY")
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch the file to WAL. SQLite's own waiting does not cover this when two processes make the file at once."""
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _start(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{self.path.parent}: {error}", path=str(self.path)) from error
        started = []
        try:
            for thread in (self._writer, *self._readers):
                thread.start()
                started.append(thread)
        except BaseException:
            for thread in started:
                thread.stop()
            raise

    def _stop(self) -> None:
        for thread in (*self._readers, self._writer):
            thread.stop()
        connection = self._connect()
        try:
            # Statistics for the planner, then the log back into the file. If another process is using the file, the
            # checkpoint does what it can and that process does the rest.
            connection.execute("PRAGMA analysis_limit = 400")
            connection.execute("PRAGMA optimize")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def _check_open(self) -> None:
        if self._state != "open":
            raise StoreUnavailable(f"{self.path} is {'closed' if self._state == 'closed' else 'not open yet'}")

    def _reader(self) -> ConnectionThread:
        self._check_open()
        return min(self._readers, key=lambda reader: reader.pending)

    async def _ensure(self, collection: Collection) -> None:
        self._check_open()
        await self._writer.run(lambda connection: ensure(connection, collection))
        self._ensured.add(collection)
