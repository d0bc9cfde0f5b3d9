"""A SQLite connection in a thread of its own, fed from coroutines.

A commit costs the same for one statement as for a hundred, so the writer takes everything that queued up
while it was busy into one transaction (group commit). No statement sees another's failure: each job is one
changing statement, which SQLite undoes alone when it fails.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from context_store.backends.sqlite.failures import translate
from schemas.errors import BoxhubError, Overloaded, StoreUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
Outcome = tuple["_Job", Any, BaseException | None]

MAX_GROUP: Final = 256
"""Jobs in one transaction: enough to hide the commit, few enough that the first waits only milliseconds."""


class _Job:
    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()


class ConnectionThread:
    """Runs jobs on one connection, in order. ``transaction`` groups them; without it each reads its own snapshot.

    At most ``max_pending`` jobs wait (`Overloaded` beyond). A job whose caller was cancelled before it began is
    skipped.
    """

    def __init__(
        self, name: str, connect: Callable[[], sqlite3.Connection], path: Path, *, transaction: bool, max_pending: int
    ) -> None:
        self._connect = connect
        self._path = path
        self._transaction = transaction
        self._max_pending = max_pending
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._open = True
        self._pending = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._connected: queue.SimpleQueue[sqlite3.Error | None] = queue.SimpleQueue()

    @property
    def pending(self) -> int:
        """Jobs that wait or run."""
        return self._pending

    def start(self) -> None:
        """Connect; blocks until that is done. Raises `StoreUnavailable`, or `IntegrityError` for a damaged file."""
        self._thread.start()
        if error := self._connected.get():
            self._open = False
            raise translate(error, self._path) from error

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returned, after its transaction was committed; or what it raised."""
        if not self._open:
            raise StoreUnavailable(f"{self._path} is closed")
        if self._pending >= self._max_pending:
            raise Overloaded(f"{self._path}: {self._max_pending} operations are waiting", path=str(self._path))
        job = _Job(work, asyncio.get_running_loop())
        self._pending += 1
        self._jobs.put(job)
        try:
            result: T = await job.future
        finally:
            self._pending -= 1
        return result

    def stop(self) -> None:
        """Finish what is queued, then close the connection. Blocks; may be called twice."""
        if self._open:
            self._open = False
            self._jobs.put(None)
        self._thread.join()

    # --- in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            connection = self._connect()
        except sqlite3.Error as error:
            self._connected.put(error)
            return
        self._connected.put(None)
        try:
            while self._take_group(connection):
                pass
        finally:
            connection.close()

    def _take_group(self, connection: sqlite3.Connection) -> bool:
        """Run the next group. False when there will be no more."""
        job = self._jobs.get()
        group: list[_Job] = []
        while job is not None:
            if not job.future.cancelled():
                group.append(job)
            if len(group) >= MAX_GROUP:
                break
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
        if group:
            _deliver(self._in_transaction(connection, group) if self._transaction else self._each(connection, group))
        return job is not None

    def _in_transaction(self, connection: sqlite3.Connection, group: list[_Job]) -> list[Outcome]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = self._each(connection, group)
            # A full disk makes SQLite roll all back by itself; then no job of the group has happened.
            if not connection.in_transaction:
                raise sqlite3.OperationalError("the transaction was rolled back")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = translate(error, self._path)
            failure.__cause__ = error
            return [(job, None, failure) for job in group]
        return outcomes

    def _each(self, connection: sqlite3.Connection, group: list[_Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for job in group:
            try:
                outcomes.append((job, job.work(connection), None))
            except BoxhubError as error:
                outcomes.append((job, None, error))
            except sqlite3.Error as error:
                failure = translate(error, self._path)
                failure.__cause__ = error
                outcomes.append((job, None, failure))
            except Exception as error:  # noqa: BLE001 - a bug in one job belongs to its caller, not to this thread
                outcomes.append((job, None, error))
        return outcomes


def _deliver(outcomes: list[Outcome]) -> None:
    """Wake the callers: one call into each event loop, however many jobs there were."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].loop, []).append(outcome)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:
            pass  # that loop has been closed, so nobody waits for the answer


def _settle(outcomes: list[Outcome]) -> None:
    for job, result, error in outcomes:
        if job.future.cancelled():
            continue
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
