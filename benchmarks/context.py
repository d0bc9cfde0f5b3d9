"""The context store against plain ``sqlite3`` that writes and reads the same documents with the same durability.

The baseline runs in the calling thread, blocks it, knows one process and has neither tenants, indexes nor unique
fields; what the ratio shows is the price of being asynchronous and general, and what group commit gives back.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, Row, interleave, row
from context_store.backend import Collection
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.conversations import estimate_tokens
from context_store.store import ContextStore, Scope
from schemas.conversation import Turn
from schemas.part import Part
from schemas.tree import EMPTY_TREE, blob_hash

BASELINE = "plain sqlite3"
COUNTERS = Collection("counters")
RUNS = 7
TURNS = 10_000


class Plain:
    """A table of JSON documents in a file of its own, one transaction to a write."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("CREATE TABLE docs (key TEXT PRIMARY KEY, revision INTEGER, doc TEXT)")

    def insert(self, key: str, doc: dict[str, Any]) -> None:
        self._connection.execute("INSERT INTO docs VALUES (?, 1, ?)", (key, json.dumps(doc)))

    def replace(self, key: str, doc: dict[str, Any], expected: int) -> int:
        changed = self._connection.execute(
            "UPDATE docs SET doc = ?, revision = revision + 1 WHERE key = ? AND revision = ?",
            (json.dumps(doc), key, expected),
        ).rowcount
        assert changed == 1
        return expected + 1

    def newest(self, limit: int) -> list[dict[str, Any]]:
        rows = self._connection.execute("SELECT doc FROM docs ORDER BY key DESC LIMIT ?", (limit,))
        return [json.loads(doc) for (doc,) in rows]

    def everything(self) -> list[dict[str, Any]]:
        return [json.loads(doc) for (doc,) in self._connection.execute("SELECT doc FROM docs ORDER BY key")]

    def close(self) -> None:
        self._connection.close()


@asynccontextmanager
async def both() -> AsyncIterator[tuple[Scope, Plain, Path]]:
    """Our store and the baseline, in one temporary directory."""
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-") as name:
        directory = Path(name)
        plain = Plain(directory / "plain.db")
        try:
            backend, blobs = SqliteBackend(directory / "ours.db"), DirectoryBlobs(directory / "blobs")
            async with ContextStore(backend, blobs) as store:
                yield store.tenant("default"), plain, directory
        finally:
            plain.close()


async def store_cas_1(count: int = 3000) -> Sequence[Row]:
    """Compare-and-set of one record, one after the other."""
    async with both() as (scope, plain, _):
        records = scope.records(COUNTERS)
        await records.insert("k", {"n": 0})
        plain.insert("k", {"n": 0})
        at = {"ours": 1, "plain": 1}

        async def ours() -> float:
            began = time.perf_counter()
            for n in range(count):
                at["ours"] = await records.replace("k", {"n": n}, expected=at["ours"])
            return count / (time.perf_counter() - began)

        async def baseline() -> float:
            began = time.perf_counter()
            for n in range(count):
                at["plain"] = plain.replace("k", {"n": n}, at["plain"])
            return count / (time.perf_counter() - began)

        return [await _row("store_cas_1", ours, baseline, unit="1/s", better="higher", demand=0.1, note="aim 3,000/s")]


async def store_cas_64(each: int = 200, writers: int = 64) -> Sequence[Row]:
    """Compare-and-set by 64 tasks on a record each, committed in groups; the baseline commits one by one."""
    async with both() as (scope, plain, _):
        records = scope.records(COUNTERS)
        at = {"ours": [1] * writers, "plain": [1] * writers}
        for writer in range(writers):
            await records.insert(f"k{writer}", {"n": 0})
            plain.insert(f"k{writer}", {"n": 0})

        async def write(writer: int) -> None:
            for n in range(each):
                revision = at["ours"][writer]
                at["ours"][writer] = await records.replace(f"k{writer}", {"n": n}, expected=revision)

        async def ours() -> float:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for writer in range(writers):
                    group.create_task(write(writer))
            return writers * each / (time.perf_counter() - began)

        async def baseline() -> float:
            began = time.perf_counter()
            for n in range(each):
                for writer in range(writers):
                    at["plain"][writer] = plain.replace(f"k{writer}", {"n": n}, at["plain"][writer])
            return writers * each / (time.perf_counter() - began)

        return [
            await _row("store_cas_64", ours, baseline, unit="1/s", better="higher", demand=0.5, note="aim 10,000/s")
        ]


async def branch_fork_edit(count: int = 100) -> Sequence[Row]:
    """A fork of a 1,000-file tree with one file changed; the baseline writes that file and one row."""
    files = {f"src/m{m}/f{f}.py": b"x = %d\n" % f for m in range(20) for f in range(50)}
    async with both() as (scope, plain, directory):
        tree = await scope.trees.put_files(EMPTY_TREE, files)
        root = (await scope.workspaces.create("bench", tree)).root
        number = iter(range(10**9))

        async def ours() -> float:
            began = time.perf_counter()
            for _ in range(count):
                await scope.branches.fork(root, files={"src/m3/f7.py": b"x = %d\n" % next(number)})
            return (time.perf_counter() - began) / count * 1000

        async def baseline() -> float:
            began = time.perf_counter()
            for _ in range(count):
                data = b"y = %d\n" % next(number)
                name = blob_hash(data)
                (directory / f"{name}.new").write_bytes(data)
                (directory / f"{name}.new").rename(directory / name)
                plain.insert(name, {"parent": root, "base": tree, "head": name, "state": "open"})
            return (time.perf_counter() - began) / count * 1000

        return [await _row("branch_fork_edit", ours, baseline, unit="ms", better="lower", demand=0.1, note="aim 1 ms")]


async def conversation_10k(max_tokens: int = 8000) -> Sequence[Row]:
    """A prompt of a 10,000-turn conversation, and its last 50 turns; the baseline reads the rows as they are."""
    text = "the quick brown fox jumps over the lazy dog, once more and then again until the line is long enough " * 2
    async with both() as (scope, plain, _):
        conversation = (await scope.conversations.create()).id
        for start in range(0, TURNS, 20):
            turns = [
                Turn(id=f"t{n}", role="user" if n % 2 else "assistant", parts=[Part(text=f"{n} {text}")])
                for n in range(start, start + 20)
            ]
            await scope.conversations.append(conversation, turns)
            for turn in turns:
                plain.insert(f"{int(turn.id[1:]):010d}", turn.wire())

        async def prompt() -> float:
            began = time.perf_counter()
            made = await scope.conversations.prompt(conversation, max_tokens)
            took = (time.perf_counter() - began) * 1000
            assert 0 < made.tokens <= max_tokens
            return took

        async def plain_prompt() -> float:
            began = time.perf_counter()
            left, messages = max_tokens, []
            for turn in reversed(plain.everything()):
                content = turn["parts"][0]["text"]
                left -= estimate_tokens(content) + 4
                if left < 0:
                    break
                messages.append({"role": turn.get("role", "user"), "content": content})
            messages.reverse()
            return (time.perf_counter() - began) * 1000

        async def last() -> float:
            began = time.perf_counter()
            for _ in range(20):
                assert len(await scope.conversations.turns(conversation, limit=50)) == 50
            return (time.perf_counter() - began) / 20 * 1000

        async def plain_last() -> float:
            began = time.perf_counter()
            for _ in range(20):
                assert len([Turn.model_validate(turn) for turn in plain.newest(50)]) == 50
            return (time.perf_counter() - began) / 20 * 1000

        return [
            await _row("prompt_10k", prompt, plain_prompt, unit="ms", better="lower", demand=1.0, note="aim 20 ms"),
            await _row("turns_last_50", last, plain_last, unit="ms", better="lower", demand=0.15, note="aim 5 ms"),
        ]


async def _row(
    name: str, ours: Callable[[], Awaitable[float]], baseline: Callable[[], Awaitable[float]], **of_row: Any
) -> Row:
    measured = await interleave({"ours": ours, "baseline": baseline}, runs=RUNS)
    return row(name, measured["ours"], measured["baseline"], baseline_name=BASELINE, **of_row)


def _run(measure: Callable[[], Awaitable[Sequence[Row]]]) -> Callable[[], Sequence[Row]]:
    async def main() -> Sequence[Row]:
        return await measure()

    return lambda: asyncio.run(main())


BENCHMARKS = [
    Benchmark("store_cas_1", _run(store_cas_1)),
    Benchmark("store_cas_64", _run(store_cas_64)),
    Benchmark("branch_fork_edit", _run(branch_fork_edit)),
    Benchmark("prompt_10k", _run(conversation_10k)),
]
