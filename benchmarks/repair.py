"""Candidates per second of the repair example, against the script one would write: a git worktree and a pytest each."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Benchmark, Row, row
from box_agent import aio
from box_agent.agent import Agent
from box_agent.live import register
from examples.repair.boxes import PytestRunner
from examples.repair.mutations import candidates
from examples.repair.planner import Planner
from examples.repair.run import Requested
from examples.repair.suspicious import rank
from examples.repair.trial import Edit, Trials
from hub.local import LocalSystem
from schemas.ids import new_id

PROGRAMS = Path(__file__).with_name("programs")
CHOSEN = ("account", "histogram", "merge_ranges")  # no endless loops among their first candidates
CANDIDATES = 16
PARALLEL = 2
RUNS = 3
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Work:
    """One program and the candidates that both sides try, in the same order."""

    directory: Path
    request: Requested
    edits: list[Edit]


def repair_candidates() -> Sequence[Row]:
    return asyncio.run(_measure())


async def _measure() -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-") as place:
        async with LocalSystem(Path(place) / "home", gateway_port=0) as system:
            url = system.connection.nats_url
            async with aio.connect("planner", url=url) as planner, aio.connect("coder-1", url=url) as coder:
                await register(planner, PytestRunner)
                copies = [_repository(PROGRAMS / name, Path(place)) for name in CHOSEN]
                works = [await _work(planner, copy) for copy in copies]
                await _ours(coder, works[0])
                ours: list[float] = []
                theirs: list[float] = []
                for _ in range(RUNS):
                    for work in works:
                        ours.append(await _ours(coder, work))
                        theirs.append(await asyncio.to_thread(_baseline, work))
    return [
        row(
            "repair_candidates", ours, theirs, baseline_name="git worktree + subprocess pytest", unit="1/s",
            better="higher", demand=1.0, note=f"{PARALLEL} at once, {len(CHOSEN)} programs",
        )
    ]  # fmt: skip


def _repository(source: Path, place: Path) -> Path:
    directory = place / "programs" / source.name
    directory.mkdir(parents=True)
    for file in source.glob("*.py"):
        (directory / file.name).write_bytes(file.read_bytes())
    _git(directory, "init", "-q")
    _git(directory, "add", "-A")
    _git(directory, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "start")
    return directory


async def _work(agent: Agent, directory: Path) -> Work:
    plan = await Planner(agent, []).survey(directory, 60)
    ranking = [(line.path, line.line, line.score) for line in rank(plan.spectrum)]
    request = Requested(
        run=plan.run, root=plan.root, conversation=plan.conversation, ranking=ranking, sources=plan.spectrum.sources,
        failing=plan.spectrum.failing, passing=[], failures={}, budget=CANDIDATES, parallel=PARALLEL,
        test_timeout_s=TIMEOUT_S, coders=["coder-1"],
    )  # fmt: skip
    sources = {path: (directory / path).read_text() for path in request.sources}
    found = candidates(sources, ranking)
    edits = [Edit(c.path, c.line, c.description, c.new_source) for c, _ in zip(found, range(CANDIDATES), strict=False)]
    return Work(directory, request, edits)


async def _ours(coder: Agent, work: Work) -> float:
    trials = Trials(coder, work.request.model_copy(update={"run": new_id("run")}))
    turns = iter(enumerate(work.edits))

    async def worker() -> None:
        for number, edit in turns:
            await trials.attempt(number, edit)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(PARALLEL):
            group.create_task(worker())
    return len(work.edits) / (time.perf_counter() - started)


def _baseline(work: Work) -> float:
    from concurrent.futures import ThreadPoolExecutor

    started = time.perf_counter()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda numbered: _worktree(work, *numbered), enumerate(work.edits)))
    return len(work.edits) / (time.perf_counter() - started)


def _worktree(work: Work, number: int, edit: Edit) -> bool:
    """What pytest finds installed beside itself is not loaded: here it would take four times as long, for nothing."""
    tree = work.directory.parent / f"{work.directory.name}-{number}"
    _git(work.directory, "worktree", "add", "-q", "--detach", str(tree))
    try:
        (tree / edit.path).write_text(edit.new_source)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        for select in (work.request.failing, []):
            done = subprocess.run(
                [*command, f"--rootdir={tree}", *select], cwd=tree, timeout=TIMEOUT_S, capture_output=True, check=False,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            )  # fmt: skip
            if done.returncode:
                return False
        return True
    finally:
        _git(work.directory, "worktree", "remove", "--force", str(tree))


def _git(directory: Path, *arguments: str) -> None:
    for attempt in range(20):  # two worktrees made at once contend for git's lock
        done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.01 * attempt)
    done.check_returncode()


BENCHMARKS = [Benchmark("repair_candidates", repair_candidates)]
