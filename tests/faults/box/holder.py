"""A program that holds a driver with busy boxes, to be killed: ``python -m tests.faults.box.holder FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from box_agent.drivers.process.driver import ProcessDriver
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, there

BOXES = ("held-1", "held-2", "held-3")


async def main(folder: Path) -> None:
    async with ProcessDriver(folder / "driver", VARIABLES) as driver:
        bench = Workbench(driver, folder)
        boxes = [await bench.spawn(Workshop, id=name) for name in BOXES]
        flags = [folder / f"flag-{n}" for n in range(3)]
        skills = ("family", "spin", "hold")
        calls = [
            asyncio.ensure_future(box.call(ask(skill, str(flag), timeout_s=None)))
            for box, skill, flag in zip(boxes, skills, flags, strict=True)
        ]
        for flag in flags:
            await there(flag)
        print(*(box.pid for box in boxes), flush=True)
        await asyncio.wait(calls)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
