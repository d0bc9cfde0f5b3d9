"""Brings the team together and lets it work on one directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from box_agent import aio
from box_agent.agent import Agent
from box_agent.config import AgentSettings
from box_agent.discovery import discover
from examples.repair import problem
from examples.repair.apply import apply_changes
from examples.repair.coder import Coder
from examples.repair.config import LlmSettings
from examples.repair.llm_coder import LlmCoder
from examples.repair.planner import Plan, Planner, Repair
from examples.repair.problem import Problem
from examples.repair.progress import Progress
from examples.repair.report import show_plan, show_repair
from examples.repair.reviewer import Reviewer
from examples.repair.run import PLANNER, REVIEWER


@dataclass(frozen=True, slots=True)
class Options:
    """How much may be tried. Times in seconds; ``parallel`` counts candidates in flight over the whole team."""

    budget: int = 300
    parallel: int = 4
    coders: int = 2
    suite_timeout_s: float = 60.0
    test_timeout_s: float = 10.0
    apply: bool = False


@dataclass(frozen=True, slots=True)
class Team:
    planner: Planner
    coders: list[Coder]
    dashboard_url: str
    home: str


@asynccontextmanager
async def gathered(options: Options) -> AsyncIterator[Team]:
    """A planner, coders and a reviewer, attached and listening; all say goodbye at the end."""
    llm = LlmSettings()
    found = await asyncio.to_thread(discover, None, AgentSettings())
    names = [f"coder-{i + 1}" for i in range(min(options.coders, options.parallel))]
    async with AsyncExitStack() as stack:

        async def attached(name: str) -> Agent:
            return await stack.enter_async_context(aio.connect(name, url=found.url, tenant=found.tenant or None))

        coders: list[Coder] = [Coder(await attached(name)) for name in names]
        if llm.url:
            coders.append(LlmCoder(await attached("coder-llm"), llm))
        planner = Planner(await attached(PLANNER), [c.agent.address for c in coders])
        reviewer = Reviewer(await attached(REVIEWER))
        for coder in coders:
            await coder.subscribe()
        await reviewer.subscribe()
        await planner.subscribe()
        yield Team(planner, coders, found.dashboard_url, found.home)


async def repair_directory(team: Team, directory: Path, options: Options, console: Console) -> int:
    """Survey, search, commit, show. Returns the exit code; raises `Problem` on bad input."""
    planner = team.planner
    with console.status("importing the project and running its tests under coverage …"):
        plan = await planner.survey(directory, options.suite_timeout_s)
    show_plan(console, plan)
    repair, progress = await _search(planner, plan, options, console)
    if repair is None:
        console.print(
            f"[bold red]not repaired[/]: {progress.tried} candidates tried, {progress.rate:.1f}/s; raise --budget"
        )
        return problem.NOT_REPAIRED
    show_repair(console, repair, progress)
    if options.apply:
        for path in await apply_changes(planner.agent, directory, repair.commit.changes):
            console.print(f"wrote {path}", highlight=False)
    if not await planner.confirm(plan, options.suite_timeout_s):
        raise Problem(problem.NOT_REPAIRED, "the committed tree does not pass; this is a defect, please report it")
    return problem.REPAIRED


async def _search(planner: Planner, plan: Plan, options: Options, console: Console) -> tuple[Repair | None, Progress]:
    progress = Progress(console, plan.run, options.budget)
    await progress.subscribe(planner.agent)
    with progress:
        repair = await planner.repair(
            plan,
            budget=options.budget,
            parallel=max(1, options.parallel // max(1, min(options.coders, options.parallel))),
            test_timeout_s=options.test_timeout_s,
        )
    return repair, progress
