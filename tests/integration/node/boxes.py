"""Boxes the node tests run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from box_agent import Box, Context, skill


class Workshop(Box):
    """Does what a test asks for."""

    @skill
    def add(self, a: int, b: int) -> int:
        return a + b

    @skill
    def pid(self) -> int:
        return os.getpid()

    @skill
    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    @skill
    def fail(self, text: str) -> None:
        raise ValueError(text)

    @skill
    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @skill
    def die_until(self, marker: str) -> int:
        """Dies in the first attempt, counted in a file outside the box."""
        with Path(marker).open("a") as file:
            file.write("x")
        if Path(marker).stat().st_size < 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return Path(marker).stat().st_size

    @skill
    def hold(self, marker: str, seconds: float = 60.0) -> str:
        """Says its pid, and that of a program it started, in a file outside the box, then waits."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(marker).write_text(f"{os.getpid()} {child.pid}\n")
        time.sleep(seconds)
        return "held"

    @skill
    def once_then_quick(self, marker: str) -> str:
        """Waits for ever when it is the first to be here."""
        first = not Path(marker).exists()
        with Path(marker).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if first:
            time.sleep(600)
        return "quick"

    @skill
    def write(self, path: str, text: str) -> str:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return text

    @skill
    def read(self, path: str) -> str:
        return Path(path).read_text()

    @skill
    def listing(self) -> list[str]:
        return sorted(str(path) for path in Path().rglob("*") if path.is_file())

    @skill
    def talk(self, context: Context, steps: int) -> str:
        for step in range(steps):
            context.progress(step / steps, f"step {step}")
            context.log(f"line {step}")
        return context.address

    @skill
    def tell(self, context: Context, to: str, data: dict[str, int]) -> str:
        context.bus.publish_event("told", data)
        return context.bus.send_message(to, data)

    @skill
    def ask(self, context: Context, box: str, name: str, a: int, b: int) -> int:
        answer: int = context.bus.call(box, name, a=a, b=b)
        return answer

    @skill
    def meddle(self, context: Context, box: str, name: str) -> str:
        """Try a skill that is not for boxes; what that gave."""
        try:
            context.bus.call(box, name)
        except Exception as error:  # noqa: BLE001 - the test looks at its type
            return type(error).__name__
        return "allowed"


class Unready(Box):
    """Its set-up fails."""

    def setup(self) -> None:
        raise RuntimeError("not today")

    @skill
    def wait(self) -> None:
        """Nobody gets here."""


class Slow(Box):
    """Async skills."""

    @skill
    async def wait_for(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "waited"

    @skill
    async def ticks(self, every_s: float) -> AsyncIterator[int]:
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(every_s)
