"""kill -9 of a process that writes: the file is consistent and has everything that was acknowledged."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore, Scope
from tests.faults.context_store.writer import THINGS

PROJECT = Path(__file__).parents[3]


async def write_until_killed(
    directory: Path, seed: str, conversation: str, root: str, lines: int
) -> list[dict[str, Any]]:
    """What the process had acknowledged when it was killed, after at least so many lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.context_store.writer", str(directory), seed, conversation, root,
        cwd=PROJECT, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = [await process.stdout.readline() for _ in range(lines)]
    finally:
        process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    assert await process.wait() == -9
    return [json.loads(line) for line in said if line.endswith(b"\n")]


async def check(scope: Scope, conversation: str, root: str, said: list[dict[str, Any]]) -> None:
    def of(kind: str) -> list[dict[str, Any]]:
        return [what for what in said if what["kind"] == kind]

    records = scope.records(THINGS)
    for what in of("record"):
        assert await records.get(what["key"]) is not None
    for what in {w["key"]: w for w in of("keyvalue")}.values():
        entry = await scope.keyvalues.get(what["key"])
        assert entry is not None
        assert (entry.value, entry.revision) >= (what["value"], what["revision"])
        assert entry.value <= what["value"] + 1
    ids = [turn.id for turn in await scope.conversations.turns(conversation, limit=10**6)]
    assert len(ids) == len(set(ids)) == (await scope.conversations.get(conversation)).turns
    assert {id for what in of("turns") for id in what["ids"]} <= set(ids)
    assert all(a[:-1] == b[:-1] for a, b in zip(ids[::2], ids[1::2], strict=True))
    head = (await scope.branches.get(root)).head
    paths = {path async for path, _ in scope.trees.walk(head)}
    committed = {what["id"] for what in of("commit")}
    for what in of("fork"):
        branch = await scope.branches.get(what["id"])
        assert (branch.state == "committed") == (what["path"] in paths)
        assert branch.id not in committed or branch.state == "committed"
        if branch.state == "open":
            await scope.branches.commit(branch.id)


async def test_killed_again_and_again(tmp_path):
    async with ContextStore(SqliteBackend(tmp_path / "s.db"), DirectoryBlobs(tmp_path / "b")) as store:
        scope = store.tenant("default")
        conversation = (await scope.conversations.create()).id
        root = (await scope.workspaces.create("w")).root
    said: list[dict[str, Any]] = []
    for turn in range(3):
        lines = random.Random(turn).randint(150, 500)
        said += await write_until_killed(tmp_path, f"run{turn}", conversation, root, lines)
        raw = sqlite3.connect(tmp_path / "s.db")
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        raw.close()
        async with ContextStore(SqliteBackend(tmp_path / "s.db"), DirectoryBlobs(tmp_path / "b")) as store:
            scope = store.tenant("default")
            await check(scope, conversation, root, said)
            assert len(await scope.records(THINGS).find(limit=10_000)) >= sum(w["kind"] == "record" for w in said)
    assert {what["kind"] for what in said} == {"record", "keyvalue", "turns", "fork", "commit"}


async def test_two_processes_on_one_file(tmp_path):
    """Both write until they are killed; each one's acknowledged writes are there, the other's as well."""
    async with ContextStore(SqliteBackend(tmp_path / "s.db"), DirectoryBlobs(tmp_path / "b")) as store:
        scope = store.tenant("default")
        conversation = (await scope.conversations.create()).id
        root = (await scope.workspaces.create("w")).root
        both = await asyncio.gather(*(write_until_killed(tmp_path, f"p{n}", conversation, root, 200) for n in range(2)))
        await check(scope, conversation, root, both[0] + both[1])
