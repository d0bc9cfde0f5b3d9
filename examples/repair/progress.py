"""The live display. It is a subscriber like any other: all it knows came over the bus."""

from __future__ import annotations

import time
from collections import Counter, deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from box_agent.agent import Agent
from box_agent.bus.received import Event
from examples.repair.run import TRIED, Tried

_SHOWN = 8
_STYLES = {"green": "bold green", "failed": "", "error": "yellow", "timeout": "magenta", "cancelled": "dim"}


class Progress:
    """Counts and shows ``repair.tried`` events of one run. A live table, or lines where there is no terminal."""

    def __init__(self, console: Console, run: str, budget: int) -> None:
        self._console = console
        self._run = run
        self._budget = budget
        self._started = time.monotonic()
        self._latest: deque[Tried] = deque(maxlen=_SHOWN)
        self.outcomes: Counter[str] = Counter()
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=8, transient=True,
            auto_refresh=console.is_terminal,
        )  # fmt: skip

    @property
    def tried(self) -> int:
        return sum(n for outcome, n in self.outcomes.items() if outcome != "cancelled")

    @property
    def rate(self) -> float:
        """Candidates per second since the start."""
        return self.tried / max(1e-9, time.monotonic() - self._started)

    async def subscribe(self, agent: Agent) -> None:
        await agent.on_event(TRIED, self._on_tried, durable=False)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    async def _on_tried(self, event: Event) -> None:
        tried = Tried.model_validate(event.data)
        if tried.run != self._run:
            return
        self.outcomes[tried.outcome] += 1
        self._latest.append(tried)
        if self._console.is_terminal or tried.outcome == "cancelled":
            return
        if self.tried % 25 == 0 or tried.outcome == "green":
            self._console.print(f"{self.tried} candidates tried, {self.rate:.1f}/s", highlight=False)

    def _render(self) -> RenderableType:
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=self._budget, completed=self.tried, width=40)
        counts = "  ".join(f"{n} {outcome}" for outcome, n in sorted(self.outcomes.items()))
        head.add_row(bar, f"{self.tried}/{self._budget}", f"{self.rate:.1f}/s", Text(counts, style="dim"))
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("coder", "branch", "where", "change", "tests", "s"):
            table.add_column(column, overflow="ellipsis", no_wrap=True)
        for t in self._latest:
            style = _STYLES[t.outcome]
            tests = f"{t.passed}✓ {t.failed}✗" if t.outcome in ("green", "failed") else t.outcome
            where = Text(f"{t.path}:{t.line}", style=style)
            table.add_row(
                t.coder, t.branch[-8:], where, Text(t.change, style=style), Text(tests, style=style), f"{t.seconds:.2f}"
            )
        return Group(head, table)
