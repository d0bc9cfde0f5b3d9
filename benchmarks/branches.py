"""A branch of a tree of files, against a copy of the tree by ``cp -a``, and beside it what else makes one.

``file_branch_N``: forked from one of N files, one file written on it and read again. ``discard_branch``: its end,
against ``rm -r`` of the copy. ``branch_disk``: bytes on the disk for each branch with one file changed, against 64 KiB.
``branch_memory``: memory that the store's process keeps for each open branch, against 4 KiB.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.harness import Benchmark, Row, interleave, row
from benchmarks.merges import Git, content, path
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore, Scope
from schemas.branch import Branch
from schemas.tree import EMPTY_TREE

COPY = "cp -a of the tree"
RUNS = 5
BRANCHES = 500
_SMALL = 2000
"""Bytes of a file where there are 100,000; else 20,000."""


class Bench:
    """A store with a workspace in it, and the same files in a directory."""

    def __init__(self, scope: Scope, root: str, directory: Path) -> None:
        self.scope = scope
        self.root = root
        self.directory = directory
        self.tree = directory / "tree"
        self._numbers = itertools.count()

    def number(self) -> int:
        return next(self._numbers)

    async def branch(self) -> Branch:
        """A fork with a file of its own, which is read again."""
        branches, data = self.scope.branches, b"x = %d\n" % self.number()
        (made,) = await branches.fork(self.root)
        made = await branches.write_files(made.id, {path(7): data})
        assert await self.scope.trees.read_file(made.head, path(7)) == data
        return made

    def copy(self, *options: str) -> Path:
        target = self.directory / f"copy-{self.number()}"
        subprocess.run(["cp", *options, self.tree, target], check=True, capture_output=True)
        (target / path(7)).write_bytes(b"x\n")
        return target


@asynccontextmanager
async def bench(files: int) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-") as name:
        directory = Path(name)
        async with ContextStore(SqliteBackend(directory / "s.db"), DirectoryBlobs(directory / "blobs")) as store:
            scope, tree = store.tenant("default"), EMPTY_TREE
            for start in range(0, files, 1000):
                made = {_name(n, files): _data(n, files) for n in range(start, start + 1000)}
                tree = await scope.trees.put_files(tree, made)
                for file, data in made.items():
                    target = directory / "tree" / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
            root = (await scope.workspaces.create("bench", tree)).root
            os.sync()
            yield Bench(scope, root, directory)


def _name(number: int, files: int) -> str:
    """At most 1,000 directories of a hundred files."""
    return path(number) if files <= 10_000 else f"src/n{number % 10}/{path(number // 10).removeprefix('src/')}"


def _data(number: int, files: int) -> bytes:
    whole = content(number)
    return whole if files <= 10_000 else whole[:_SMALL]


async def file_branch(files: int) -> Sequence[Row]:
    async with bench(files) as made:
        ways = {f"file_branch_{files // 1000}k": (COPY, lambda: made.copy("-a"))}
        if files == 10_000:
            ways |= _others(made)

        async def ours() -> float:
            began = time.perf_counter()
            for _ in range(20):
                await made.branch()
            return (time.perf_counter() - began) / 20 * 1000

        theirs = {name: _made_and_removed(way) for name, (_, way) in ways.items()}
        measured = await interleave({"ours": ours, **theirs}, runs=RUNS if files <= 10_000 else 3)
        return [
            row(
                name, measured["ours"], measured[name], baseline_name=said, unit="ms", better="lower",
                demand=500.0 if said == COPY and files == 10_000 else None,
            )
            for name, (said, _) in ways.items()
        ]  # fmt: skip


def _others(made: Bench) -> dict[str, tuple[str, Callable[[], Path]]]:
    """What a user would pick instead, as far as this machine has it."""
    git = Git(made.directory / "git")
    shutil.copytree(made.tree, git.directory, dirs_exist_ok=True)
    git("add", "-A")
    git("commit", "-qm", "x")

    def worktree() -> Path:
        target = made.directory / f"copy-{made.number()}"
        git("worktree", "add", "--quiet", "--detach", str(target))
        return target

    ways = {"file_branch_git_worktree": ("git worktree add", worktree)}
    try:
        shutil.rmtree(made.copy("-a", "--reflink=always"))
    except subprocess.CalledProcessError as error:
        print(f"  file_branch_reflink: not there: {error.stderr.decode().splitlines()[-1]}", file=sys.stderr)
    else:
        ways["file_branch_reflink"] = ("cp --reflink", lambda: made.copy("-a", "--reflink=always"))
    return ways


def _made_and_removed(way: Callable[[], Path]) -> Callable[[], Awaitable[float]]:
    async def measure() -> float:
        os.sync()
        began = time.perf_counter()
        target = way()
        taken = (time.perf_counter() - began) * 1000
        shutil.rmtree(target)
        return taken

    return measure


async def discard_branch() -> Sequence[Row]:
    async with bench(10_000) as made:

        async def ours() -> float:
            branches = [await made.branch() for _ in range(20)]
            began = time.perf_counter()
            for branch in branches:
                await made.scope.branches.discard(branch.id)
            return (time.perf_counter() - began) / 20 * 1000

        async def removed() -> float:
            target = made.copy("-a")
            began = time.perf_counter()
            shutil.rmtree(target)
            return (time.perf_counter() - began) * 1000

        measured = await interleave({"ours": ours, "rm": removed}, runs=RUNS)
        return [
            row("discard_branch", measured["ours"], measured["rm"], baseline_name="rm -r of the copy", unit="ms",
                better="lower", demand=None)
        ]  # fmt: skip


async def branch_room() -> Sequence[Row]:
    """Disk and memory for each of 500 open branches of 10,000 files."""
    async with bench(10_000) as made:
        await made.branch()
        disk, memory = _disk_bytes(made.directory), _own_bytes()
        for _ in range(BRANCHES):
            await made.branch()
        each = (_disk_bytes(made.directory) - disk) / BRANCHES, (_own_bytes() - memory) / BRANCHES
        return [
            row("branch_disk", [each[0]], [65536.0], baseline_name="64 KiB", unit="bytes", better="lower", demand=1.0),
            row("branch_memory", [each[1]], [4096.0], baseline_name="4 KiB", unit="bytes", better="lower", demand=None,
                note="of the store's process"),
        ]  # fmt: skip


def _disk_bytes(directory: Path) -> int:
    """What its files take, in blocks."""
    os.sync()
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def _own_bytes() -> int:
    gc.collect()
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel tells no Pss")


def _file_branch(files: int) -> Callable[[], Sequence[Row]]:
    return lambda: asyncio.run(file_branch(files))


BENCHMARKS = [
    *(Benchmark(f"file_branch_{count // 1000}k", _file_branch(count)) for count in (1000, 10_000, 100_000)),
    Benchmark("discard_branch", lambda: asyncio.run(discard_branch())),
    Benchmark("branch_disk", lambda: asyncio.run(branch_room())),
]
