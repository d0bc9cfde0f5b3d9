"""Commits and diffs of a tree of 10,000 files (200 MB), against ``cp -a`` of the tree and against git.

Each commit is a three-way merge: the target has changed as many files as the branch, one in ten of them the same
file at another line. ``commit_N`` is the commit alone; ``commit_N_git`` also puts the N files into the branch, which
for git is: write them, ``git commit``, ``git merge``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.harness import Benchmark, Row, interleave, row
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore, Scope
from context_store.trees import Trees
from schemas.tree import EMPTY_TREE

FILES = 10_000
RUNS = 5
LINE = b"a line of a file that is long enough to look like a line of a program\n"
LINES = 20_000 // len(LINE)


def path(number: int) -> str:
    """A hundred directories of a hundred files."""
    return f"src/m{number % 100}/f{number // 100}.py"


def content(number: int, *edits: tuple[int, str]) -> bytes:
    lines = [b"file %d\n" % number, *[LINE] * LINES]
    for at, text in edits:
        lines[at] = text.encode() + b"\n"
    return b"".join(lines)


def ours(count: int, run: str) -> dict[str, bytes]:
    """What the branch changes: files of every directory."""
    return {path(n): content(n, (5, run)) for n in range(count)}


def theirs(count: int) -> dict[str, bytes]:
    """What the target changed: nine in ten of them other files."""
    clashing = max(1, count // 10)
    numbers = [*range(clashing), *range(count, 2 * count - clashing)]
    return {path(n): content(n, (LINES - 5, "theirs")) for n in numbers}


class Git:
    """A repository with a work tree and two branches: ``main`` (theirs) and ``base``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self("init", "-q", "-b", "main")
        for key, value in (("user.name", "b"), ("user.email", "b@b"), ("gc.auto", "0"), ("core.fsync", "none")):
            self("config", key, value)

    def __call__(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.directory, check=True, capture_output=True)

    def write(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            target = self.directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def commit(self, files: dict[str, bytes]) -> None:
        self.write(files)
        self("add", "-A")
        self("commit", "-qm", "x")


@asynccontextmanager
async def workspace() -> AsyncIterator[tuple[Scope, str, Path]]:
    """A store with the tree in it: its hash, and a directory to work in."""
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-") as name:
        directory = Path(name)
        async with ContextStore(SqliteBackend(directory / "s.db"), DirectoryBlobs(directory / "blobs")) as store:
            scope = store.tenant("default")
            tree = EMPTY_TREE
            for start in range(0, FILES, 1000):
                tree = await scope.trees.put_files(tree, {path(n): content(n) for n in range(start, start + 1000)})
            yield scope, tree, directory


async def commits(count: int) -> Sequence[Row]:
    async with workspace() as (scope, tree, directory):
        git = Git(directory / "git")
        git.commit({path(n): content(n) for n in range(FILES)})
        git("branch", "base")
        git.commit(theirs(count))
        git("branch", "moved")
        shutil.copytree(directory / "git", directory / "tree", ignore=shutil.ignore_patterns(".git"))
        serial = iter(range(10**9))
        alone: list[float] = []

        async def whole() -> float:
            """Put the files into the branch and commit it; what the commit took goes to ``alone``."""
            root = (await scope.workspaces.create("bench", tree)).root
            (branch,) = await scope.branches.fork(root)
            await scope.branches.write_files(root, theirs(count))
            edits = ours(count, f"run {next(serial)}")
            os.sync()
            began = time.perf_counter()
            await scope.branches.write_files(branch.id, edits)
            written = time.perf_counter()
            result = await scope.branches.commit(branch.id)
            ended = time.perf_counter()
            assert (len(result.changes), result.fast_forward) == (count, False)
            alone.append((ended - written) * 1000)
            return (ended - began) * 1000

        async def by_git() -> float:
            git("checkout", "-q", "-f", "-B", "branch", "base")
            edits = ours(count, f"run {next(serial)}")
            os.sync()
            began = time.perf_counter()
            git.write(edits)
            git("commit", "-qam", "x")
            committed = time.perf_counter() - began
            git("checkout", "-q", "-f", "-B", "main", "moved")
            began = time.perf_counter()
            git("merge", "-q", "--no-edit", "branch")
            return (committed + time.perf_counter() - began) * 1000

        async def copy() -> float:
            shutil.rmtree(directory / "copy", ignore_errors=True)
            os.sync()
            began = time.perf_counter()
            _copy(directory)
            return (time.perf_counter() - began) * 1000

        measured = await interleave({"ours": whole, "git": by_git, "cp": copy}, runs=RUNS)
        demand = {10: 200.0, 100: 200.0, 1000: None}[count]
        return [
            row(f"commit_{count}", alone[-RUNS:], measured["cp"], baseline_name="cp -a of the tree", unit="ms",
                better="lower", demand=demand),
            row(f"commit_{count}_git", measured["ours"], measured["git"], baseline_name="write, git commit, git merge",
                unit="ms", better="lower", demand=1.0),
        ]  # fmt: skip


async def diff_100() -> Sequence[Row]:
    """100 files changed, in all of the hundred directories; by a process that has read none of them yet, and again."""
    async with workspace() as (scope, tree, directory):
        after = await scope.trees.put_files(tree, ours(100, "diff"))
        git = Git(directory / "git")
        git.commit({path(n): content(n) for n in range(FILES)})
        git.commit(ours(100, "diff"))
        warm = Trees(scope.blobs)

        async def measure(trees: Trees) -> float:
            began = time.perf_counter()
            assert len(await trees.diff(tree, after, renames=True)) == 100
            return (time.perf_counter() - began) * 1000

        async def by_git() -> float:
            began = time.perf_counter()
            git("diff-tree", "-r", "-M", "--name-status", "HEAD~1", "HEAD")
            return (time.perf_counter() - began) * 1000

        async def read_before() -> float:
            return await measure(warm)

        async def read_now() -> float:
            return await measure(Trees(scope.blobs))

        measured = await interleave({"warm": read_before, "cold": read_now, "git": by_git}, runs=15)
        return [
            row("diff_100", measured["warm"], measured["git"], baseline_name="git diff-tree -M", unit="ms",
                better="lower", demand=1.0, note="to be at most 5 ms"),
            row("diff_100_cold", measured["cold"], measured["git"], baseline_name="git diff-tree -M", unit="ms",
                better="lower", demand=None, note="nothing read before; every directory differs"),
        ]  # fmt: skip


def _copy(directory: Path) -> None:
    subprocess.run(["cp", "-a", "tree", "copy"], cwd=directory, check=True)


def _commits(count: int) -> Callable[[], Sequence[Row]]:
    return lambda: asyncio.run(commits(count))


BENCHMARKS = [
    *(Benchmark(f"commit_{count}", _commits(count)) for count in (10, 100, 1000)),
    Benchmark("diff_100", lambda: asyncio.run(diff_100())),
]
