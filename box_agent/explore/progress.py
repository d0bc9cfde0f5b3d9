"""A line that says how far a search is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from box_agent.explore.trial import Trial


@dataclass(frozen=True)
class Progress:
    """Told whenever a trial begins or ends."""

    trials: Sequence[Trial]
    running: int
    best: Trial | None
    seconds: float

    @property
    def done(self) -> int:
        return len(self.trials) - self.running

    @property
    def failed(self) -> int:
        return sum(trial.error is not None for trial in self.trials)

    def __str__(self) -> str:
        best = "none yet"
        if self.best is not None:
            best = f"{self.best.score:.4g} ({self.best.branch.name})"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} tried{failed}, {self.running} running, best {best}, {self.seconds:.1f} s"


Report = Callable[[Progress], None]


def on_terminal(stream: TextIO | None = None) -> Report:
    """Rewrites one line of a terminal; elsewhere it writes nothing, since a log is no terminal."""
    out = stream or sys.stderr

    def report(progress: Progress) -> None:
        if out.isatty():
            out.write(f"\r\x1b[K{progress}" + ("" if progress.running else "\n"))
            out.flush()

    return report
