"""One try, what a search may cost, and what came of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

from box_agent.context.open_branch import OpenBranch
from schemas.branch import CommitResult
from schemas.errors import InvalidInput, TerminalState

Path = tuple[int, ...]
"""Which child of which child it is: ``(2, 0)`` is the first child of the third try."""

Why = Literal["found", "exhausted", "branches", "attempts", "seconds"]
"""Why a search ended: a score was reached, there was nothing more to try, or a budget was used up."""


@dataclass(eq=False)
class Trial:
    """One try on a branch of its own. Its ``rng`` depends on the search's seed and on ``path``, and on nothing else."""

    path: Path
    branch: OpenBranch
    parent: Trial | None
    seed: int
    outcome: Any = None
    score: float | None = None  # none: it failed, or was not finished
    error: Exception | None = None
    attempts: int = 0
    seconds: float = 0.0
    children: list[Trial] = field(default_factory=list)
    rng: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}/{self.path}")

    @property
    def depth(self) -> int:
        """1 for those forked from where the search began."""
        return len(self.path)

    @property
    def line(self) -> list[Trial]:
        """Itself and those that it grew from, the first one first."""
        above = self.parent.line if self.parent is not None else []
        return [*above, self]


@dataclass(frozen=True)
class Budget:
    """What a search may use; ``None``: as much as it takes."""

    branches: int | None = None
    attempts: int | None = None  # runs of the attempt, those made again after a failure included
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise InvalidInput(f"budget {name}={value}: use more than 0, or None for no limit")


@dataclass
class Exploration:
    """``best`` is the trial with the highest score, the first of equals; none if all failed. Its line of branches is
    open, all others are discarded: they can be looked at and not be worked on."""

    trials: list[Trial]
    best: Trial | None
    why: Why
    seed: int
    seconds: float

    async def commit(self, **options: Any) -> list[CommitResult]:
        """Commit the best trial into what it was forked from, and that on, down to where the search began.

        ``options`` are those of `OpenBranch.commit`, for the last of these commits; those before it cannot conflict.
        Raises `InvalidInput` when there is no best one, and what a commit raises.
        """
        if self.best is None:
            raise InvalidInput("no trial succeeded: there is nothing to commit")
        done: list[CommitResult] = []
        for trial in reversed(self.best.line):
            done.append(await trial.branch.commit(**(options if trial.parent is None else {})))
        return done

    async def discard(self) -> None:
        """Give the best one up, too; harmless twice."""
        for trial in reversed(self.best.line if self.best is not None else []):
            if trial.branch.state == "open":
                try:
                    await trial.branch.discard()
                except TerminalState:
                    await trial.branch.refresh()
