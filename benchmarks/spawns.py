"""Measures of the local driver in a process of its own, as whoever runs it: ``python -m benchmarks.spawns MEASURE``.

Prints one JSON object: measure → list of numbers. Every measure comes with its baseline from the same minutes: a
fresh interpreter that imports what a worker needs, which is what a spawn replaces.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.alternatives import alternatives
from box_agent import Box, skill
from box_agent.driver import CallRequest, Handle, Template
from box_agent.drivers.local.driver import LocalDriver
from box_agent.drivers.local.trial import NoBlobs, Unheard
from box_agent.worker import processes
from schemas.box import BoxDefinition, SpawnRequest
from schemas.ids import new_id

BASELINE = "import nats, pydantic"
Numbers = dict[str, list[float]]


class Answering(Box):
    @skill
    def add(self, a: int, b: int) -> int:
        return a + b


class Bench:
    """A warm template, and boxes from it."""

    def __init__(self, driver: LocalDriver, template: Template, definition: BoxDefinition, folder: Path) -> None:
        self._driver = driver
        self._template = template
        self._definition = definition
        self._folder = folder

    async def spawn(self) -> Handle:
        """Made, and its first skill answered."""
        box = new_id("box")
        directory = self._folder / box
        directory.mkdir()
        request = SpawnRequest(id=box, definition=self._definition)
        handle = await self._driver.spawn(self._template, request, directory, Unheard())
        assert await handle.call(CallRequest(new_id("call"), "add", (1, 2))) == 3
        return handle


class _Blobs(NoBlobs):
    def __init__(self, folder: Path, blobs: dict[str, bytes]) -> None:
        for digest, data in blobs.items():
            (folder / digest).write_bytes(data)
        self._folder = folder

    async def path(self, digest: str) -> Path:
        return self._folder / digest


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-") as name:
        folder = Path(name)
        async with LocalDriver(folder / "driver", {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}) as driver:
            definition, blobs = Answering().pack()
            template = await driver.build_template(definition, _Blobs(folder, blobs))
            yield Bench(driver, template, definition, folder)


async def one_by_one(runs: int = 25, each: int = 8) -> Numbers:
    """Seconds of one spawn with its first answer, of one discard, and of the baseline."""
    found: Numbers = {"spawn": [], "discard": [], "baseline": []}
    async with bench() as made:
        await (await made.spawn()).stop(0)
        for _ in range(runs):
            for _ in range(each):
                began = time.perf_counter()
                box = await made.spawn()
                answered = time.perf_counter()
                await box.stop(0)
                found["spawn"].append(answered - began)
                found["discard"].append(time.perf_counter() - answered)
            found["baseline"].append(_fresh_interpreter())
    return found


async def burst(runs: int = 3, boxes: int = 150, at_once: int = 8) -> Numbers:
    """Boxes a second, all alive in the end; each one's seconds; and fresh interpreters a second, as many at once."""
    found: Numbers = {"rate": [], "each": [], "baseline": []}
    async with bench() as made:
        for _ in range(runs):
            places = asyncio.Semaphore(at_once)

            async def one(places: asyncio.Semaphore = places) -> Handle:
                async with places:
                    began = time.perf_counter()
                    box = await made.spawn()
                    found["each"].append(time.perf_counter() - began)
                    return box

            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                spawned = [group.create_task(one()) for _ in range(boxes)]
            found["rate"].append(boxes / (time.perf_counter() - began))
            async with asyncio.TaskGroup() as group:
                for task in spawned:
                    group.create_task(task.result().stop(0))
            found["baseline"].append(await _fresh_interpreters(2 * at_once, at_once))
    return found


async def memory(boxes: int = 200) -> Numbers:
    """Bytes for each live box: shared memory in parts, and what the kernel keeps; and of a fresh interpreter."""
    async with bench() as made:
        first = await made.spawn()
        before = _kernel_bytes()
        live = [await made.spawn() for _ in range(boxes)]
        kernel = (_kernel_bytes() - before) / boxes
        below = [pid for box in live for pid in (box.pid, processes.parents()[box.pid])]
        shared = sum(map(processes.proportional_bytes, below)) / boxes
        async with asyncio.TaskGroup() as group:
            for box in (*live, first):
                group.create_task(box.stop(0))
    return {"shared": [shared], "kernel": [kernel], "baseline": [_fresh_bytes()]}


async def thousand(boxes: int = 1000, at_once: int = 8) -> Numbers:
    """Seconds until that many live and each has answered, of one call when all live and when one does."""
    async with bench() as made:
        first = await made.spawn()
        alone = [await _timed_call(first) for _ in range(200)]
        places = asyncio.Semaphore(at_once)

        async def one() -> Handle:
            async with places:
                return await made.spawn()

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            spawned = [group.create_task(one()) for _ in range(boxes)]
        started = time.perf_counter() - began
        live = [task.result() for task in spawned]
        among = [await _timed_call(box) for box in live]
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for box in (*live, first):
                group.create_task(box.stop(0))
        ended = time.perf_counter() - began
        baseline = await _fresh_interpreters(3 * at_once, at_once)
    return {"start": [started], "end": [ended], "among": among, "alone": alone, "baseline": [boxes / baseline]}


async def beside(runs: int = 7, each: int = 3) -> Numbers:
    """Seconds of one spawn with its first answer, and of each of the `alternatives` to it."""
    found: Numbers = {"spawn": []}
    async with bench() as made:
        others = list(alternatives())
        for _ in range(runs):
            for other in others:
                found.setdefault(other.name, []).append(other.seconds())
            for _ in range(each):
                began = time.perf_counter()
                box = await made.spawn()
                found["spawn"].append(time.perf_counter() - began)
                await box.stop(0)
    return found


async def _timed_call(box: Handle) -> float:
    began = time.perf_counter()
    assert await box.call(CallRequest(new_id("call"), "add", (1, 2))) == 3
    return time.perf_counter() - began


def _fresh_interpreter() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", BASELINE], check=True)
    return time.perf_counter() - began


def _fresh_bytes() -> float:
    code = f"{BASELINE}; import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fresh:
        assert fresh.stdout is not None
        fresh.stdout.readline()
        found = processes.proportional_bytes(fresh.pid)
        fresh.kill()
    return float(found)


async def _fresh_interpreters(how_many: int, at_once: int) -> float:
    places = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with places:
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", BASELINE)
            await process.wait()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(how_many):
            group.create_task(one())
    return how_many / (time.perf_counter() - began)


def _kernel_bytes() -> int:
    wanted = {"Slab:", "KernelStack:", "PageTables:", "Percpu:", "SecPageTables:"}
    lines = Path("/proc/meminfo").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.split()[0] in wanted)


MEASURES: dict[str, Callable[[], Coroutine[Any, Any, Numbers]]] = {
    "one_by_one": one_by_one,
    "burst": burst,
    "memory": memory,
    "thousand": thousand,
    "beside": beside,
}


def measured(measure: str, *, as_user: bool) -> Numbers | None:
    """One of `MEASURES` in a process of its own; ``as_user``: an ordinary user's, when this one is root's.

    ``None``, and a line that says why, where the driver does not work.
    """
    command = [sys.executable, "-m", "benchmarks.spawns", measure]
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-") as folder:
        environment = {**os.environ, "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        if as_user and os.geteuid() == 0:
            from tests.ordinary_user import USER

            os.chown(folder, USER, USER)
            command = [sys.executable, "-m", "tests.ordinary_user", *command]
        sources = Path(__file__).parents[1]
        done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, check=False)
    sys.stderr.write(done.stderr.decode(errors="replace") if done.returncode == 0 else "")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason was given"]
        print(f"  {measure} was not measured: {said[-1]}", file=sys.stderr)
        return None
    found: Any = json.loads(done.stdout)
    return dict(found)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(MEASURES[sys.argv[1]]())))
