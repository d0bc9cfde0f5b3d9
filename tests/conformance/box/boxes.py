"""The Boxes that every driver has to run."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from box_agent import Box, Context, skill
from box_agent.worker.interrupt import CallCancelled
from schemas.errors import Conflict


class Workshop(Box):
    """Sync skills only, so one at a time."""

    def setup(self) -> None:
        self.set_up = uuid.uuid4().hex
        self.count = 0

    @skill
    def add(self, a: int, b: int) -> int:
        return a + b

    @skill
    def echo(self, value: Any) -> Any:
        return value

    @skill
    def next(self) -> int:
        self.count += 1
        return self.count

    @skill
    def who(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "set_up": self.set_up, "session": os.getsid(0)}

    @skill
    def inside(self, path: str) -> list[str] | None:
        """What is in a directory; ``None`` when it is none."""
        return sorted(p.name for p in Path(path).iterdir()) if Path(path).is_dir() else None

    @skill
    def dice(self) -> list[float]:
        return [random.random(), random.SystemRandom().random()]

    @skill
    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    @skill
    def names(self) -> list[str]:
        return sorted(os.environ)

    @skill
    def descriptors(self) -> dict[str, str]:
        found = {}
        for fd in Path("/proc/self/fd").iterdir():
            try:
                found[fd.name] = str(fd.readlink())
            except FileNotFoundError:
                continue
        return found

    @skill
    def write(self, path: str, text: str) -> str:
        Path(path).write_text(text)
        return str(Path(path).resolve())

    @skill
    def listing(self) -> dict[str, str]:
        return {str(p): p.read_text() for p in sorted(Path().rglob("*")) if p.is_file()}

    @skill
    def upto(self, n: int) -> Iterator[int]:
        yield from range(n)

    @skill
    def upto_then_fail(self, n: int) -> Iterator[int]:
        yield from range(n)
        raise ValueError("that was the last one")

    @skill
    def forever(self, closed: str) -> Iterator[int]:
        """Counts how far it came when it is closed."""
        n = 0
        try:
            while True:
                yield n
                n += 1
        finally:
            Path(closed).write_text(str(n))

    @skill
    def fail(self, text: str) -> None:
        raise ValueError(text)

    @skill
    def refuse(self) -> None:
        raise Conflict("somebody was faster", who="bob")

    @skill
    def unsayable(self) -> Any:
        return object()

    @skill
    def half_a_character(self) -> str:
        return "\ud800"

    @skill
    def leave(self, code: int) -> None:
        raise SystemExit(code)

    @skill
    def exit_at_once(self, code: int) -> None:
        os._exit(code)

    @skill
    def kill_itself(self, number: int) -> None:
        os.kill(os.getpid(), number)

    @skill
    def talk(self, context: Context) -> str:
        context.progress(0.5, "half-way")
        context.log("a line")
        return f"{context.caller} called {context.address}.{context.skill} in {context.directory}"

    @skill
    def flood(self, context: Context, lines: int) -> int:
        for n in range(lines):
            context.log(f"{n} " + "x" * 100)
        return lines

    @skill
    def send(self, context: Context, to: str, data: Any) -> str:
        return context.bus.send_message(to, data)

    @skill
    def say(self, text: str, times: int = 1) -> None:
        for _ in range(times):
            print(text, flush=True)

    @skill
    def shell(self, command: str, timeout_s: float | None = None) -> dict[str, Any]:
        done = self.run(command, timeout_s=timeout_s)
        return {"code": done.exit_code, "output": done.output, "truncated": done.truncated}

    @skill
    def hold(self, started: str) -> str:
        """Sleeps until it is cancelled, then says so in a file."""
        try:
            Path(started).write_text(str(os.getpid()))  # whoever sees it may cancel at once
            time.sleep(600)
        except CallCancelled:
            Path(started).write_text("cancelled")
            raise
        return "held"

    @skill
    def spin(self, started: str) -> None:
        Path(started).touch()
        while True:
            pass

    @skill
    def spin_deaf(self, started: str) -> None:
        """Nothing that Python can raise ends this."""
        Path(started).touch()
        (10**9_000_000) % 7**4_000_000

    @skill
    def until_cancelled(self, context: Context, started: str) -> str:
        """Asks, as a good skill does, in a way that an exception raised here cannot help."""
        Path(started).touch()
        try:
            while not context.cancelled:
                time.sleep(0.01)
        except CallCancelled:
            return "ended in good order"
        return "ended in good order"

    @skill
    def put_away(self, started: str) -> str:
        """Has something to do once it is cancelled."""
        try:
            Path(started).touch()
            time.sleep(600)
        except CallCancelled:
            Path(started).write_text("cancelled")
            time.sleep(0.3)
        return "put away"

    @skill
    def family(self, started: str) -> None:
        """A child, a grandchild in a session of its own with an empty environment, and a forked child."""
        code = (
            "import subprocess, sys, time; "
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True, env={}); "
            "open(sys.argv[1], 'w').close(); time.sleep(600)"
        )
        subprocess.Popen([sys.executable, "-c", code, started])
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        time.sleep(600)

    @skill
    def breed(self, started: str) -> None:
        """Forks without end, in depth and in width; its children do the same."""
        Path(started).touch()
        subprocess.run(["/bin/sh", "-c", "f() { sleep 0.05; f & f & wait; }; f"], check=False)


class Lounge(Box, resources=None):
    """Async skills."""

    @skill
    async def nap(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @skill
    async def upto(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    @skill
    async def hold(self, started: str) -> None:
        Path(started).touch()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            Path(started).write_text("cancelled")
            raise

    @skill
    async def put_away(self, started: str) -> str:
        try:
            Path(started).touch()
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            Path(started).write_text("cancelled")
            await asyncio.sleep(0.3)
        return "put away"

    @skill
    async def hold_stubbornly(self, started: str) -> None:
        Path(started).touch()
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                continue

    @skill
    def add(self, a: int, b: int) -> int:
        return a + b

    @skill
    async def ask(self, context: Context, box: str, skill: str) -> Any:
        return await context.aio.call(box, skill, 1, two=2)

    @skill
    async def fail(self, text: str) -> None:
        raise ValueError(text)


class Threaded(Box):
    """Its ``setup`` leaves something that a fork does not carry over."""

    def setup(self) -> None:
        self.seen = threading.Event()
        threading.Thread(target=self.seen.wait, daemon=True, name="watcher").start()

    @skill
    def threads(self) -> list[str]:
        return sorted(t.name for t in threading.enumerate())


class Prepared(Box):
    """Its ``setup`` leaves files."""

    def setup(self) -> None:
        self.place = tempfile.mkdtemp()
        Path(self.place, "made").write_text("by setup")

    @skill
    def read(self) -> str:
        return Path(self.place, "made").read_text()


class Broken(Box):
    def setup(self) -> None:
        print("about to fail", flush=True)
        raise RuntimeError("no luck")

    @skill
    def never(self) -> None: ...
