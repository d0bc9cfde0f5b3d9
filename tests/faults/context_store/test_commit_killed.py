"""SIGKILL at every step of a commit, in a real process: it happened or it did not, and doing it again ends well."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore, Scope
from schemas.conversation import Turn
from schemas.errors import TerminalState
from schemas.part import Part
from schemas.tree import EMPTY_TREE
from tests.faults.context_store.committer import backend

PROJECT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "mongodb"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "s.db")
        return
    server, database = request.getfixturevalue("mongodb_url"), f"boxhub-test-{uuid4().hex[:12]}"
    yield f"{server.rstrip('/')}/{database}"
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(server)
    await client.drop_database(database)
    client.close()


@dataclass
class Committer:
    process: asyncio.subprocess.Process

    async def commit(self, branch: str, kill_at: int) -> tuple[int, int]:
        """The signal it died of (0: none) and its steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{branch} {kill_at}\n".encode())
        async with asyncio.timeout(30):
            died, steps = (await self.process.stdout.readline()).split()
        return int(died), int(steps)


@asynccontextmanager
async def committer(url: str, blobs: Path) -> AsyncIterator[Committer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.context_store.committer", url, str(blobs),
        cwd=PROJECT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Committer(process)
    finally:
        process.kill()
        await process.wait()


def texts(number: int) -> tuple[bytes, bytes, bytes, bytes]:
    """Base, ours, theirs, merged; like no other's, so that each commit has blobs of its own to store."""
    lines = [b"%d.%d\n" % (number, n) for n in range(9)]
    ours, theirs = [b"ours\n", *lines[1:]], [*lines[:-1], b"theirs\n"]
    return tuple(b"".join(some) for some in (lines, ours, theirs, [b"ours\n", *lines[1:-1], b"theirs\n"]))  # type: ignore[return-value]


async def prepared(scope: Scope, number: int) -> tuple[str, str]:
    """A branch to be merged, and its parent, which has moved: edited here, edited and renamed there."""
    base, ours, theirs, _ = texts(number)
    tree = await scope.trees.put_files(EMPTY_TREE, {"d/old": base, "same": b"x"})
    root = (await scope.workspaces.create("w", tree)).root
    (branch,) = await scope.branches.fork(root, files={"d/old": ours, "mine": b"1"})
    await scope.branches.write_files(root, {"d/old": None, "e/new": theirs, "other": b"2"})
    for place, word in ((branch.id, "mine"), (root, "other")):
        await scope.conversations.append(f"@{place}", [Turn(parts=[Part(text=word)])])
        await scope.keyvalues_on(place).put(word, number)
    return branch.id, root


async def shared(scope: Scope, branch: str) -> tuple[list[str], list[str]]:
    """What was said there, the turns of joins aside, and which keys there are."""
    said = [turn.text for turn in await scope.conversations.turns(f"@{branch}")]
    keys = [entry.key for entry in await scope.keyvalues_on(branch).list()]
    return [text for text in said if not text.startswith("(joined")], keys


async def files(scope: Scope, tree: str) -> dict[str, bytes]:
    """Everything in it, each blob read and verified."""
    return {path: await scope.trees.blobs.get(entry.hash) async for path, entry in scope.trees.walk(tree)}


async def test_killed_at_every_step(url: str, tmp_path: Path) -> None:
    outcomes: list[bool] = []
    blobs = tmp_path / "blobs"
    async with ContextStore(backend(url), DirectoryBlobs(blobs)) as store, committer(url, blobs) as process:
        scope = store.tenant("default")
        warm, _ = await prepared(scope, 0)
        assert await process.commit(warm, 0) > (0, 5)
        survived = 0
        for number in range(1, 400):
            branch, root = await prepared(scope, number)
            before = await scope.branches.get(root)
            died, _ = await process.commit(branch, number)
            if died == 0:  # how many steps there are varies by a few
                survived += 1
                if survived == 5:
                    break
                continue
            assert died == signal.SIGKILL
            _, _, theirs, merged = texts(number)
            after = {"e/new": merged, "same": b"x", "mine": b"1", "other": b"2"}
            head = (await scope.branches.get(root)).head
            outcomes.append(head != before.head)
            if head == before.head:
                assert await files(scope, head) == {"e/new": theirs, "same": b"x", "other": b"2"}
                assert await shared(scope, root) == (["other"], ["other"])
                assert (await scope.branches.get(branch)).state == "open"
                await scope.branches.commit(branch)
            else:
                with pytest.raises(TerminalState):
                    await scope.branches.commit(branch)
            ended = await scope.branches.get(branch)
            root_now = await scope.branches.get(root)
            assert (ended.state, ended.committed_tree) == ("committed", root_now.head)
            assert await files(scope, root_now.head) == after
            assert await shared(scope, root) == (["other", "mine"], ["mine", "other"])
        else:
            pytest.fail("the commit has no end")
    assert (outcomes[0], outcomes[-1]) == (False, True)
