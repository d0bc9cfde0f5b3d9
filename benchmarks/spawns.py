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


class Browser(Box):
    """A lower part as they are: it imports a good deal before anything is done."""

    def setup(self) -> None:
        import ftplib
        import http.server
        import imaplib
        import smtplib
        import sqlite3
        import unittest.mock
        import wsgiref.simple_server
        import xml.dom.minidom
        import xmlrpc.client

        self.modules = [ftplib, http.server, imaplib, smtplib, sqlite3, unittest.mock, wsgiref, xml.dom, xmlrpc.client]

    @skill
    def browse(self) -> int:
        return len(self.modules)


class Login(Box):
    """It works out something before anybody asks."""

    def setup(self) -> None:
        import hashlib

        self.key = hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 100_000)

    @skill
    def login(self) -> int:
        return len(self.key)


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

    async def first(self, box: Box) -> float:
        """Seconds from a Box that nobody has used before to the first answer of one that is live."""
        definition, blobs = box.pack()
        folder = self._folder / new_id("blobs")
        folder.mkdir()
        began = time.perf_counter()
        template = await self._driver.build_template(definition, _Blobs(folder, blobs))
        live = await Bench(self._driver, template, definition, folder).spawn()
        took = time.perf_counter() - began
        await live.stop(0)
        await self._driver.remove_template(template.fingerprint)
        return took

    async def warm(self, box: Box) -> None:
        definition, blobs = box.pack()
        await self._driver.build_template(definition, _Blobs(self._folder, blobs))

    async def cool(self, box: Box) -> None:
        await self._driver.remove_template(box.fingerprint)

    async def build(self, number: int) -> None:
        """The template of another Box of the same code: a variable more."""
        definition, blobs = Answering().env(NUMBER=str(number)).pack()
        template = await self._driver.build_template(definition, _Blobs(self._folder, blobs))
        await self._driver.remove_template(template.fingerprint)


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


async def build(runs: int = 25) -> Numbers:
    """Seconds of one template: a stage, the code loaded, set up."""
    found: Numbers = {"build": [], "baseline": []}
    async with bench() as made:
        for number in range(runs):
            began = time.perf_counter()
            await made.build(number)
            found["build"].append(time.perf_counter() - began)
            found["baseline"].append(_fresh_interpreter())
    return found


async def prefix(runs: int = 15) -> Numbers:
    """Seconds to the first answer of ``a + b + c``: with ``a + b`` warm, with nothing warm, and of ``c`` alone."""
    found: Numbers = {"cached": [], "uncached": [], "alone": []}
    below = Browser() + Login()
    async with bench() as made:
        for number in range(runs):
            top = Answering().env(NUMBER=str(number))
            await made.warm(below)
            found["cached"].append(await made.first(below + top))
            await made.cool(Browser())
            found["uncached"].append(await made.first(below + top.env(AGAIN="yes")))
            await made.cool(Browser())
            found["alone"].append(await made.first(top))
    return found


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
    "build": build,
    "prefix": prefix,
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
