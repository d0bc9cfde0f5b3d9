"""A process that commits branches, each in a child of its own that kills itself with SIGKILL at a given step.

``python -m tests.faults.context_store.committer STORE BLOBS``: a line ``BRANCH STEP`` in, a line ``SIGNAL STEPS`` out.
A step is a record about to be written or just written; with SQLite also a statement that it is about to run, and a
file of the blobs about to be opened, made or renamed. STEP 0 kills nothing; STEPS is how many there were, 0 for a child
that was killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from context_store.backend import Backend, Records
from context_store.backends.mongodb import MongoBackend
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore

FILE_EVENTS = frozenset({"open", "os.rename", "os.mkdir", "os.remove"})


class Steps:
    def __init__(self, kill_at: int, blobs: str) -> None:
        self._kill_at = kill_at
        self._blobs = blobs
        self._connect = sqlite3.connect
        self.count = 0

    def step(self, *_: object) -> None:
        self.count += 1
        if self.count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and str(arguments[0]).startswith(self._blobs):
            self.step()

    def connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = self._connect(*args, **kwargs)
        connection.set_trace_callback(self.step)
        return connection

    def around(self, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def stepped(records: Records, *args: Any, **kwargs: Any) -> Any:
            self.step()
            result = await write(records, *args, **kwargs)
            self.step()
            return result

        return stepped


def backend(url: str) -> Backend:
    """``mongodb://…`` with the database after the last slash, or the path of an SQLite file."""
    if url.startswith("mongodb:"):
        server, _, database = url.rpartition("/")
        return MongoBackend(server, database)
    return SqliteBackend(Path(url))


async def commit(url: str, blobs: str, branch: str, steps: Steps) -> None:
    async with ContextStore(backend(url), DirectoryBlobs(blobs)) as store:
        records = store.tenant("default").branches._records
        type(records).replace = steps.around(type(records).replace)  # type: ignore[assignment,method-assign]
        type(records).insert = steps.around(type(records).insert)  # type: ignore[assignment,method-assign]
        await store.tenant("default").branches.commit(branch)


def child(url: str, blobs: str, branch: str, kill_at: int, answer: int) -> None:
    steps = Steps(kill_at, blobs)
    code = 1
    try:
        if not url.startswith("mongodb:"):  # the blobs are the same with either
            sys.addaudithook(steps.audit)
            sqlite3.connect = steps.connect  # type: ignore[assignment]
        asyncio.run(commit(url, blobs, branch, steps))
        os.write(answer, b"%d" % steps.count)
        code = 0
    except BaseException:  # noqa: BLE001 - the exit code tells, and this says why
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(url: str, blobs: str) -> None:
    for line in sys.stdin:
        branch, kill_at = line.split()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            child(url, blobs, branch, int(kill_at), writing)
        os.close(writing)
        with os.fdopen(reading) as told:
            steps = told.read() or "0"
        status = os.waitpid(pid, 0)[1]
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), steps, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
