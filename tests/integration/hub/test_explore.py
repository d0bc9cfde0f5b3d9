"""Searches over real branches: what is found, what is left, when it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import box_agent.sync
from box_agent.context.open_branch import OpenBranch, OpenWorkspace
from box_agent.explore import Beam, BestOf, Budget, FirstSuccess, TreeSearch, Trial, explore
from box_agent.explore.progress import Progress
from hub.app import Hub
from schemas.errors import InvalidInput, TerminalState
from tests.integration.hub.conftest import Join
from tests.servers.nats import NatsServer


@pytest.fixture
async def site(hub: Hub, join: Join) -> OpenWorkspace:
    planner = await join("planner")
    site = await planner.workspaces.open("site", create=True)
    await site.write({"log": ""})
    return site


async def digit(branch: OpenBranch, trial: Trial) -> int:
    """Appends a digit to a file, and says the sum of all."""
    text = (await branch.read("log")).decode() + str(trial.rng.randrange(10))
    await branch.write({"log": text})
    return sum(map(int, text))


async def states(site: OpenWorkspace) -> dict[str, str]:
    return {branch.name: branch.state for branch in await site.branches()}


async def test_the_best_of_n_is_committed_and_the_rest_is_gone(site: OpenWorkspace) -> None:
    found = await explore(site, digit, strategy=BestOf(8), seed=3)
    assert (len(found.trials), found.why) == (8, "exhausted")
    assert found.best is not None and found.best.score == max(trial.score or 0 for trial in found.trials)
    assert sorted((await states(site)).values()) == ["discarded"] * 7 + ["open"] * 2
    await found.commit()
    assert await site.read("log") == str(found.best.outcome).encode()
    assert sorted((await states(site)).values()) == ["committed"] + ["discarded"] * 7 + ["open"]


async def test_a_beam_goes_deep_and_is_committed_all_the_way_up(site: OpenWorkspace) -> None:
    found = await explore(site, digit, strategy=Beam(width=2, children=3, depth=3), seed=1)
    assert len(found.trials) == 18 and found.best is not None and found.best.depth == 3
    await site.write({"other": "meanwhile"})
    results = await found.commit()
    assert [result.fast_forward for result in results] == [True, True, False]
    text = (await site.read("log")).decode()
    assert len(text) == 3 and sum(map(int, text)) == found.best.score
    assert await site.read("other") == b"meanwhile"
    assert [name for name, state in (await states(site)).items() if state == "open"] == ["main"]


@pytest.mark.parametrize("strategy", [Beam(2, 2, 3), TreeSearch(children=3, depth=3, batch=4)])
async def test_a_seed_replays(site: OpenWorkspace, strategy: Any) -> None:
    async def at_its_own_pace(branch: OpenBranch, trial: Trial) -> float:
        await asyncio.sleep(asyncio.get_running_loop().time() % 0.01)
        return (await digit(branch, trial)) / 30

    budget = Budget(branches=16)
    runs = [
        await explore(site, at_its_own_pace, strategy=strategy, seed=seed, concurrency=3, budget=budget)
        for seed in (5, 5, 6)
    ]
    told = [[(t.path, t.outcome) for t in run.trials] for run in runs]
    assert told[0] == told[1] != told[2]
    for run in runs:
        await run.discard()
        await run.discard()
    assert [name for name, state in (await states(site)).items() if state == "open"] == ["main"]


async def test_the_first_success_ends_the_others(site: OpenWorkspace) -> None:
    ended: list[int] = []

    async def attempt(branch: OpenBranch, trial: Trial) -> bool:
        if trial.path == (3,):
            return True
        if trial.path == (0,):
            return False
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(trial.path[0])
        return False

    found = await explore(site, attempt, strategy=FirstSuccess(6))
    assert found.best is not None and (found.best.path, found.why) == ((3,), "found")
    assert set(ended) <= {1, 2, 4, 5} and {1, 2} <= set(ended)
    assert {name for name, state in (await states(site)).items() if state == "open"} == {"try.3", "main"}


async def test_a_good_enough_score_ends_it(site: OpenWorkspace) -> None:
    async def attempt(branch: OpenBranch, trial: Trial) -> int:
        return trial.depth

    found = await explore(site, attempt, strategy=Beam(1, 2, 50), stop_at=3, concurrency=1)
    assert found.best is not None and (found.best.score, found.why) == (3, "found")


async def test_failures_are_tried_again_and_never_end_the_search(site: OpenWorkspace) -> None:
    runs: list[tuple[int, ...]] = []

    async def attempt(branch: OpenBranch, trial: Trial) -> int:
        runs.append(trial.path)
        if trial.path == (0,) or (trial.path == (1,) and runs.count((1,)) < 3):
            raise ValueError("not today")
        return 1

    found = await explore(site, attempt, strategy=BestOf(3), retries=2)
    assert [(t.attempts, t.score) for t in found.trials] == [(3, None), (3, 1), (1, 1)]
    assert isinstance(found.trials[0].error, ValueError) and found.trials[1].error is None
    nothing = await explore(site, attempt, strategy=BestOf(1))
    assert nothing.best is None
    with pytest.raises(InvalidInput, match="no trial succeeded"):
        await nothing.commit()


@pytest.mark.parametrize(
    ("budget", "why", "trials", "runs"),
    [
        (Budget(branches=5), "branches", 5, 5),
        (Budget(attempts=7), "attempts", 11, 7),
        (Budget(seconds=0.3), "seconds", None, None),
    ],
)
async def test_a_budget_is_kept(
    site: OpenWorkspace, budget: Budget, why: str, trials: int | None, runs: int | None
) -> None:
    ran: list[int] = []

    async def attempt(branch: OpenBranch, trial: Trial) -> float:
        ran.append(1)
        if why == "seconds" and len(ran) > 4:
            await asyncio.Event().wait()
        return 0.5

    async with asyncio.timeout(20):
        found = await explore(site, attempt, strategy=TreeSearch(3, 9, batch=4), budget=budget)
    assert found.why == why
    assert trials is None or len(found.trials) == trials
    assert runs is None or len(ran) == runs
    await found.discard()
    assert set((await states(site)).values()) == {"open", "discarded"}


@pytest.mark.parametrize("how", ["cancelled", "score"])
async def test_nothing_is_left_of_a_search_that_is_cut_off(site: OpenWorkspace, how: str) -> None:
    running = asyncio.Event()

    async def attempt(branch: OpenBranch, trial: Trial) -> int:
        if trial.path == (2,) and how == "cancelled":
            running.set()
            await asyncio.Event().wait()
        return 1

    def score(outcome: int) -> float:
        if how == "score":
            raise ZeroDivisionError
        return 1.0

    search = asyncio.ensure_future(explore(site, attempt, strategy=BestOf(4), score=score))
    if how == "cancelled":
        await running.wait()
        search.cancel()
    with pytest.raises(asyncio.CancelledError if how == "cancelled" else ZeroDivisionError):
        await search
    assert await states(site) == {"main": "open"} | {f"try.{n}": "discarded" for n in range(4)}


async def test_progress_is_told(site: OpenWorkspace) -> None:
    told: list[str] = []

    def report(progress: Progress) -> None:
        told.append(str(progress))

    await explore(site, digit, strategy=BestOf(3), progress=report, concurrency=1)
    assert len(told) == 6
    assert "1 running, best none yet" in told[0] and told[-1].startswith("3 tried, 0 running, best ")


async def test_what_cannot_be_is_refused(site: OpenWorkspace) -> None:
    with pytest.raises(InvalidInput, match="async function"):
        await explore(site, lambda branch, trial: None, strategy=BestOf(1))  # type: ignore[arg-type,return-value]
    with pytest.raises(InvalidInput, match="concurrency"):
        await explore(site, digit, strategy=BestOf(1), concurrency=0)


async def test_a_plain_program_explores_with_plain_functions(
    hub: Hub, shared_nats_server: NatsServer, tenant: str
) -> None:
    def program() -> None:
        def attempt(branch: Any, trial: Trial) -> int:
            branch.write({"n": str(trial.path[0])})
            return trial.path[0]

        with box_agent.sync.connect("plain", url=shared_nats_server.url, tenant=tenant) as agent:
            site = agent.workspaces.open("plain", create=True)
            found = agent.explore(site, attempt, strategy=BestOf(4))
            found.commit()
            assert site.read("n") == b"3"
            with pytest.raises(TerminalState):
                found.commit()

    await asyncio.to_thread(program)
