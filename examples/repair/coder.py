"""A coder: answers ``repair.requested`` with mutations of suspicious lines, each tried on a branch of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

from box_agent.agent import Agent
from box_agent.bus.received import Event
from examples.repair.mutations import candidates
from examples.repair.run import FINISHED, PLANNER, REQUESTED, Finished, Found, Requested
from examples.repair.sources import read_sources
from examples.repair.trial import Edit, Trials


class Coder:
    """One member of the team, on an attached agent. ``async with`` it; it works when events come."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._trials: dict[str, Trials] = {}
        self._over: set[str] = set()

    async def subscribe(self) -> None:
        await self.agent.on_event(REQUESTED, self._on_requested)
        await self.agent.on_event(FINISHED, self._on_finished)

    async def _on_requested(self, event: Event) -> None:
        request = Requested.model_validate(event.data)
        if self.agent.address not in request.coders or request.run in self._over:
            return
        trials = self._trials[request.run] = Trials(self.agent, request)
        edits = await self.edits(request)
        mine = request.coders.index(self.agent.address)
        turns = iter(itertools.islice(enumerate(edits), mine, request.budget, len(request.coders)))
        async with asyncio.TaskGroup() as group:
            for _ in range(request.parallel):
                group.create_task(self._work(trials, turns))
        if not trials.stopped:
            found = Found(run=request.run, coder=self.agent.address, exhausted=True)
            await self.agent.send_message(PLANNER, found.wire(), id=f"{request.run}-{self.agent.address}-exhausted")

    async def edits(self, request: Requested) -> Iterator[Edit]:
        """Candidates in the order they are worth trying; the same for every coder, which is how they share them."""
        sources = await read_sources(self.agent, request.root, request.sources)
        found = candidates(sources, request.ranking)
        return (Edit(c.path, c.line, c.description, c.new_source) for c in found)

    async def _work(self, trials: Trials, turns: Iterator[tuple[int, Edit]]) -> None:
        while not trials.stopped:
            turn = next(turns, None)
            if turn is None:
                return
            await trials.attempt(*turn)

    async def _on_finished(self, event: Event) -> None:
        finished = Finished.model_validate(event.data)
        self._over.add(finished.run)
        if (trials := self._trials.pop(finished.run, None)) is not None:
            await trials.stop()
