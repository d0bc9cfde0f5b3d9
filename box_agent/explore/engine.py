"""`explore`: fork, run, score, cut; wave after wave."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from box_agent.context.open_branch import OpenBranch
from box_agent.ending import to_the_end
from box_agent.explore.attempts import Attempt
from box_agent.explore.progress import Progress, Report, on_terminal
from box_agent.explore.strategies import Growth, Strategy, best
from box_agent.explore.trial import Budget, Exploration, Trial, Why
from schemas.errors import InvalidInput, TerminalState

Score = Callable[[Any], Awaitable[float | None] | float | None]
_DISCARDS: Final = 16


def number(outcome: Any) -> float | None:
    """What an attempt returned, as a score: a number or True; None and False are failures."""
    return None if outcome is None or outcome is False else float(outcome)


async def explore(
    start: OpenBranch,
    attempt: Attempt,
    *,
    strategy: Strategy,
    score: Score = number,
    stop_at: float | None = None,
    budget: Budget = Budget(),  # noqa: B008 - immutable
    concurrency: int = 8,
    retries: int = 0,
    seed: int = 0,
    name: str = "try",
    progress: Report | bool = False,
) -> Exploration:
    """Try ``attempt(branch, trial)`` on branches of ``start``, each with the files of what it grew from.

    ``score`` makes a number of what an attempt returned, the higher the better, or ``None`` for a failure; what an
    attempt raises is a failure of that trial (made again up to ``retries`` times) and never of the search. The search
    ends at the first score of ``stop_at`` or more, when the strategy has nothing more to try, or when the budget is
    used up. What runs then is cancelled and awaited, but for a budget of attempts. All branches but the best one's line
    are discarded before it returns; cancelled, or when ``score`` raises, all of them.

    The same seed grows the same tree and gives each trial the same random numbers, if attempts and scores depend on
    nothing else; only which one ends the search early depends on time where several run at once.
    """
    if not inspect.iscoroutinefunction(attempt):
        raise InvalidInput("attempt is an async function of a branch and a trial")
    if concurrency < 1 or retries < 0:
        raise InvalidInput(f"concurrency {concurrency}, retries {retries}: use 1 or more, and 0 or more")
    report = on_terminal() if progress is True else progress or None
    search = _Search(start, attempt, strategy, score, stop_at, budget, concurrency, retries, seed, name, report)
    try:
        return await search.run()
    except BaseException:
        await to_the_end(search.cut(set(), spare_best=False))
        raise


class _Search:
    def __init__(
        self,
        start: OpenBranch,
        attempt: Attempt,
        strategy: Strategy,
        score: Score,
        stop_at: float | None,
        budget: Budget,
        concurrency: int,
        retries: int,
        seed: int,
        name: str,
        report: Report | None,
    ) -> None:
        self._start = start
        self._attempt = attempt
        self._strategy = strategy
        self._score = score
        self._stop_at = stop_at
        self._budget = budget
        self._slots = asyncio.Semaphore(concurrency)
        self._retries = retries
        self._seed = seed
        self._name = name
        self._report = report
        self._trials: list[Trial] = []
        self._top: list[Trial] = []
        self._running = 0
        self._attempts = 0
        self._began = time.monotonic()
        self._why: Why | None = None

    async def run(self) -> Exploration:
        while self._why is None:
            growth = self._strategy.grow(self._trials)
            if not growth:
                self._why = "exhausted"
                break
            growth = self._affordable(growth)
            if not growth:
                self._why = "branches"
                break
            await self._wave(growth)
            await self.cut(self._strategy.keep(self._trials))
        found = best(self._trials)
        await self.cut(set())
        return Exploration(self._trials, found, self._why, self._seed, time.monotonic() - self._began)

    def _affordable(self, growth: Growth) -> Growth:
        if self._budget.branches is None:
            return growth
        left = self._budget.branches - len(self._trials)
        cut: Growth = []
        for parent, count in growth:
            if left > 0:
                cut.append((parent, min(count, left)))
                left -= count
        return cut

    async def _wave(self, growth: Growth) -> None:
        made = [trial for parent, count in growth for trial in await self._fork(parent, count)]
        try:
            left_s = None if self._budget.seconds is None else self._budget.seconds - (time.monotonic() - self._began)
            async with asyncio.timeout(left_s), asyncio.TaskGroup() as group:
                running = [group.create_task(self._try(trial), name=trial.branch.name) for trial in made]
                for task in list(running):
                    task.add_done_callback(lambda _: self._end_all(running))
        except TimeoutError:
            self._why = self._why or "seconds"
        except BaseExceptionGroup as errors:  # of scores and progress reports: one is told
            raise errors.exceptions[0] from None

    def _end_all(self, running: list[asyncio.Task[None]]) -> None:
        if self._why == "found":
            while running:
                running.pop().cancel()  # once: a second time would cut its clean-up short

    async def _fork(self, parent: Trial | None, count: int) -> list[Trial]:
        siblings = parent.children if parent is not None else self._top
        above = parent.path if parent is not None else ()
        paths = [(*above, len(siblings) + n) for n in range(count)]
        source = parent.branch if parent is not None else self._start
        branches = await source.fork(
            *(".".join([self._name, *map(str, path)]) for path in paths),
            mode="race",
            metadata={"explore": {"seed": self._seed}},
        )
        made = [Trial(path, branch, parent, self._seed) for path, branch in zip(paths, branches, strict=True)]
        siblings += made
        self._trials += made
        return made

    async def _try(self, trial: Trial) -> None:
        async with self._slots:
            if self._why is not None:
                return
            self._running += 1
            began = time.monotonic()
            self._tell()
            try:
                await self._attempts_of(trial)
            finally:
                self._running -= 1
                trial.seconds = time.monotonic() - began
                self._tell()

    async def _attempts_of(self, trial: Trial) -> None:
        for _ in range(1 + self._retries):
            if self._budget.attempts is not None and self._attempts >= self._budget.attempts:
                self._why = self._why or "attempts"
                return
            self._attempts += 1
            trial.attempts += 1
            try:
                trial.outcome, trial.error = await self._attempt(trial.branch, trial), None
            except Exception as error:  # noqa: BLE001 - whatever it was, it is this trial's
                trial.error = error
                continue
            break
        else:
            return
        scored = self._score(trial.outcome)
        trial.score = await scored if inspect.isawaitable(scored) else scored
        if trial.score is None:
            return
        if self._strategy.first_success or (self._stop_at is not None and trial.score >= self._stop_at):
            self._why = self._why or "found"

    def _tell(self) -> None:
        if self._report is not None:
            seconds = time.monotonic() - self._began
            self._report(Progress(self._trials, self._running, best(self._trials), seconds))

    async def cut(self, growing: set[Trial], *, spare_best: bool = True) -> None:
        """Discard the branches that nothing can come of any more."""
        kept = {above for trial in growing for above in trial.line}
        found = best(self._trials)
        if found is not None and spare_best:
            kept |= set(found.line)
        slots = asyncio.Semaphore(_DISCARDS)

        async def discard(trial: Trial) -> None:
            async with slots:
                try:
                    await trial.branch.discard()
                except TerminalState:
                    await trial.branch.refresh()

        async with asyncio.TaskGroup() as group:
            for trial in self._trials:
                if trial not in kept and trial.branch.state == "open":
                    group.create_task(discard(trial))
