"""Which branches to grow next.

A search runs in waves: a strategy names what to grow, all of it runs, and the strategy is asked again. It sees only
finished waves, in the order of their paths, so it decides the same however fast each trial was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from box_agent.explore.trial import Trial
from schemas.errors import InvalidInput

Growth = list[tuple[Trial | None, int]]
"""(what to fork, how many); ``None`` is where the search began."""


class Strategy(Protocol):
    def grow(self, trials: Sequence[Trial]) -> Growth:
        """The next wave, given all trials so far; empty: there is nothing more to try."""
        ...

    def keep(self, trials: Sequence[Trial]) -> set[Trial]:
        """Those that may still be grown; the branches of the others, but the best one's, are discarded."""
        ...

    @property
    def first_success(self) -> bool:
        """Whether any success ends the search."""
        ...


@dataclass(frozen=True)
class BestOf:
    """``n`` independent tries; the highest score wins."""

    n: int
    first_success: bool = False

    def __post_init__(self) -> None:
        _positive(n=self.n)

    def grow(self, trials: Sequence[Trial]) -> Growth:
        return [] if trials else [(None, self.n)]

    def keep(self, trials: Sequence[Trial]) -> set[Trial]:
        return set()


def FirstSuccess(n: int) -> BestOf:
    """``n`` independent tries; whichever succeeds first ends the others. With ``concurrency=1``: the first in order."""
    return BestOf(n, first_success=True)


@dataclass(frozen=True)
class Beam:
    """In each of ``depth`` rounds the best ``width`` trials have ``children`` each; a trial is not given up for its own
    children: the best of all rounds wins."""

    width: int
    children: int
    depth: int
    first_success: bool = False

    def __post_init__(self) -> None:
        _positive(width=self.width, children=self.children, depth=self.depth)

    def grow(self, trials: Sequence[Trial]) -> Growth:
        if not trials:
            return [(None, self.width * self.children)]
        if _depth(trials) >= self.depth:
            return []
        return [(trial, self.children) for trial in self._front(trials)]

    def keep(self, trials: Sequence[Trial]) -> set[Trial]:
        return set(self._front(trials)) if _depth(trials) < self.depth else set()

    def _front(self, trials: Sequence[Trial]) -> list[Trial]:
        newest = [t for t in trials if t.depth == _depth(trials) and t.score is not None]
        return sorted(newest, key=_rank)[: self.width]


@dataclass(frozen=True)
class TreeSearch:
    """Upper confidence bounds for trees: each wave grows ``batch`` leaves, where scores are good or little is known.

    A node has at most ``children`` children and ``depth`` is the longest line. Scores should lie within 0 and 1, or
    ``exploration`` be as large as they differ. Ends when all is grown or `Budget` says so.
    """

    children: int
    depth: int
    batch: int = 4
    exploration: float = 1.4
    first_success: bool = False

    def __post_init__(self) -> None:
        _positive(children=self.children, depth=self.depth, batch=self.batch)

    def grow(self, trials: Sequence[Trial]) -> Growth:
        top = [trial for trial in trials if trial.parent is None]
        planned: dict[Trial | None, int] = {}
        pending: dict[Trial | None, int] = {}  # runs under way count as visits without a reward
        for _ in range(self.batch):
            node: Trial | None = None
            while True:
                made = node.children if node is not None else top
                if len(made) + planned.get(node, 0) < self.children:
                    break
                open_ = [child for child in made if self._growable(child, planned)]
                if not open_:
                    return list(planned.items())
                visits = sum(_visits(child) + pending.get(child, 0) for child in open_)
                node = max(open_, key=lambda c: (self._bound(c, visits, pending.get(c, 0)), [-n for n in c.path]))
                pending[node] = pending.get(node, 0) + 1
            planned[node] = planned.get(node, 0) + 1
        return list(planned.items())

    def keep(self, trials: Sequence[Trial]) -> set[Trial]:
        return {trial for trial in trials if self._growable(trial, {})}

    def _growable(self, trial: Trial, planned: dict[Trial | None, int]) -> bool:
        if trial.score is None or trial.depth >= self.depth:
            return False
        if len(trial.children) + planned.get(trial, 0) < self.children:
            return True
        return any(self._growable(child, planned) for child in trial.children)

    def _bound(self, trial: Trial, visits: int, pending: int) -> float:
        own = _visits(trial) + pending
        return _reward(trial) / own + self.exploration * math.sqrt(math.log(visits + 1) / own)


def _visits(trial: Trial) -> int:
    return 1 + sum(map(_visits, trial.children))


def _reward(trial: Trial) -> float:
    return (trial.score or 0.0) + sum(map(_reward, trial.children))


def _depth(trials: Sequence[Trial]) -> int:
    return max((trial.depth for trial in trials), default=0)


def _rank(trial: Trial) -> tuple[float, tuple[int, ...]]:
    return (-(trial.score if trial.score is not None else -math.inf), trial.path)


def best(trials: Sequence[Trial]) -> Trial | None:
    """The highest score; of equals the shorter line, then the first."""
    scored = [trial for trial in trials if trial.score is not None]
    return min(scored, key=lambda t: (_rank(t)[0], t.depth, t.path), default=None)


def _positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise InvalidInput(f"{name}={number}: use 1 or more")
