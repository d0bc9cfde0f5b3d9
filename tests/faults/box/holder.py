"""A program that holds a driver with busy boxes, to be killed: ``python -m tests.faults.box.holder DRIVER FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, there
from tests.faults.box.conftest import FORKING

BOXES = ("held-1", "held-2", "held-3")


async def main(name: str, folder: Path) -> None:
    async with FORKING[name](folder / "driver", VARIABLES) as driver:
        bench = Workbench(driver, folder)
        boxes = [await bench.spawn(Workshop, id=name) for name in BOXES]
        flags = [box.directory / "flag" for box in boxes]
        skills = ("family", "spin", "hold")
        calls = [
            asyncio.ensure_future(box.call(ask(skill, "flag", timeout_s=None)))
            for box, skill in zip(boxes, skills, strict=True)
        ]
        for flag in flags:
            await there(flag)
        print(*(box.pid for box in boxes), flush=True)
        await asyncio.wait(calls)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
