"""A process that writes without end and prints what was acknowledged; the test kills it.

``python writer.py DIRECTORY SEED``: one line of JSON per acknowledged write.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from context_store.backend import Collection
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore, Scope
from schemas.conversation import Turn
from schemas.part import Part

THINGS = Collection("things", indexes=("writer",), unique=("name",))


def acknowledged(kind: str, **what: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **what}) + "\n")
    sys.stdout.flush()


async def insert(scope: Scope, writer: str) -> None:
    records = scope.records(THINGS)
    for n in range(10**9):
        await records.insert(f"{writer}/{n}", {"writer": writer, "name": f"{writer}-{n}"})
        acknowledged("record", key=f"{writer}/{n}")


async def count(scope: Scope, writer: str) -> None:
    while True:
        current = await scope.keyvalues.get(writer)
        value = (current.value if current else 0) + 1
        entry = await scope.keyvalues.put(writer, value, expected_revision=current.revision if current else 0)
        acknowledged("keyvalue", key=writer, value=value, revision=entry.revision)


async def talk(scope: Scope, writer: str, conversation: str) -> None:
    for n in range(10**9):
        turns = [Turn(id=f"{writer}-{n}{part}", parts=[Part(text="words")]) for part in "ab"]
        await scope.conversations.append(conversation, turns)
        acknowledged("turns", ids=[turn.id for turn in turns])


async def branch(scope: Scope, writer: str, root: str) -> None:
    for n in range(10**9):
        (made,) = await scope.branches.fork(root, files={f"{writer}/{n}": b"%d" % n})
        acknowledged("fork", id=made.id, path=f"{writer}/{n}")
        await scope.branches.commit(made.id)
        acknowledged("commit", id=made.id, path=f"{writer}/{n}")


async def main(directory: Path, seed: str, conversation: str, root: str) -> None:
    async with ContextStore(SqliteBackend(directory / "s.db"), DirectoryBlobs(directory / "b")) as store:
        scope = store.tenant("default")
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                writer = f"{seed}.{n}"
                group.create_task(insert(scope, writer))
                group.create_task(count(scope, writer))
                group.create_task(talk(scope, writer, conversation))
                group.create_task(branch(scope, writer, root))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
