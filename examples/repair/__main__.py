"""``python -m examples.repair [DIR] --budget 300 --parallel 4``"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from examples.repair import problem
from examples.repair.config import DemoSettings
from examples.repair.intake import check_directory
from examples.repair.problem import Problem
from examples.repair.team import Options, gathered, repair_directory
from schemas.errors import BoxhubError

SAMPLE = Path(__file__).parent / "sample"


def command(
    directory: Annotated[Path, typer.Argument(help="A directory whose pytest suite fails.")] = SAMPLE,
    budget: Annotated[int, typer.Option(min=1, help="Candidates to try at most.")] = 300,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Candidates in flight.")] = 4,
    coders: Annotated[int, typer.Option(min=1, max=16)] = 2,
    suite_timeout: Annotated[float, typer.Option(min=1, help="Seconds for one run of the whole suite.")] = 60.0,
    test_timeout: Annotated[float, typer.Option(min=0.5, help="Seconds for one candidate.")] = 10.0,
    apply: Annotated[bool, typer.Option("--apply", help="Write the repair into the directory.")] = False,
) -> None:
    """Agents repair a program with failing tests by exploring candidate fixes in parallel branches."""
    options = Options(budget, parallel, coders, suite_timeout, test_timeout, apply)
    raise typer.Exit(main(directory, options))


def main(directory: Path, options: Options) -> int:
    """Runs it all and returns the exit code; every refusal is one line on stderr."""
    errors = Console(stderr=True, highlight=False)
    try:
        check_directory(directory, writable=options.apply)
        return asyncio.run(_run(directory.resolve(), options))
    except Problem as refused:
        errors.print(Text(str(refused), style="red"), soft_wrap=True)
        return refused.exit_code
    except BoxhubError as failed:
        errors.print(Text(f"{failed.code}: {failed.message}", style="red"), soft_wrap=True)
        return problem.SYSTEM
    except KeyboardInterrupt:
        return problem.INTERRUPTED


async def _run(directory: Path, options: Options) -> int:
    console = Console(highlight=False)
    async with gathered(options) as team:
        url = team.dashboard_url
        if url:
            console.print(Text.assemble("dashboard  ", (url, "cyan underline")), soft_wrap=True)
        code = await repair_directory(team, directory, options, console)
        if not DemoSettings().exit:
            console.print(
                Text.assemble("the system stays up until Ctrl-C; look at ", (url, "cyan underline")), soft_wrap=True
            )
            if team.home:
                console.print(f"in a terminal: BOXHUB_HOME={team.home} boxhub tasks", soft_wrap=True)
            await _until_interrupted()
        return code


async def _until_interrupted() -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()


if __name__ == "__main__":
    typer.run(command)
