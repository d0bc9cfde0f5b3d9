"""Searches whose attempts run elsewhere: tasks on a pool, calls in live boxes. What lost has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from box_agent.agent import Agent
from box_agent.explore import BestOf, FirstSuccess, explore, in_boxes, on_pool
from box_agent.explore.trial import Trial
from box_agent.live import register
from box_agent.node.service import Node
from box_agent.worker import processes
from tests.integration.node.boxes import Workshop

pytestmark = pytest.mark.nats_versions("current")


async def test_the_losers_of_a_pool_have_ended_when_the_search_has(node: Node, planner: Agent, tmp_path: Path) -> None:
    await register(planner, Workshop)
    site = await planner.workspaces.open("pool", create=True)

    def arguments(trial: Trial) -> dict[str, object]:
        return {"marker": str(tmp_path / f"try-{trial.path[0]}"), "seconds": 0.3 if trial.path == (1,) else 600}

    attempt = on_pool(planner, "workshop", "hold", arguments)
    found = await explore(site, attempt, strategy=FirstSuccess(3), score=lambda said: float(said == "held"))
    assert found.best is not None and found.best.path == (1,)
    pids = [int(pid) for marker in tmp_path.glob("try-*") for pid in marker.read_text().split()]
    assert len(pids) >= 2 and not any(map(processes.alive, pids))
    tasks = await planner.tasks.list()
    assert sorted(task.state for task in tasks) == ["canceled", "canceled", "completed"]


@pytest.mark.parametrize("how", ["pool", "boxes"])
async def test_what_the_best_one_wrote_is_committed(node: Node, planner: Agent, how: str) -> None:
    await register(planner, Workshop)
    site = await planner.workspaces.open(how, create=True)

    def arguments(trial: Trial) -> dict[str, str]:
        return {"path": "word.txt", "text": "long" * trial.path[0]}

    attempt = (
        on_pool(planner, "workshop", "write", arguments)
        if how == "pool"
        else in_boxes(planner, Workshop, "write", arguments)
    )
    found = await explore(site, attempt, strategy=BestOf(4), score=len)
    await found.commit()
    assert await site.read("word.txt") == b"long" * 3
