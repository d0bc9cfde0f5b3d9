"""What the user reads at the end."""

from __future__ import annotations

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from examples.repair.planner import Plan, Repair
from examples.repair.progress import Progress
from examples.repair.suspicious import rank


def show_plan(console: Console, plan: Plan) -> None:
    spectrum = plan.spectrum
    console.print(
        Text.assemble((f"{len(spectrum.failing)} of {len(spectrum.tests)} tests fail", "bold red"), ": "),
        Text(", ".join(spectrum.failing)),
    )
    for line in rank(spectrum)[:3]:
        console.print(Text(f"  suspicious {line.score:.2f}  {line.path}:{line.line}", style="dim"))


def show_repair(console: Console, repair: Repair, progress: Progress) -> None:
    """The diff, then who found it, how many were tried and how fast, and what the reviewer says."""
    tried = repair.tried
    if console.is_terminal:
        console.print(Syntax(repair.diff, "diff", theme="ansi_dark", background_color="default"))
    else:
        console.print(Text(repair.diff), soft_wrap=True)
    console.print(
        Text.assemble(("repaired", "bold green"), f" by {tried.coder}: {tried.path}:{tried.line} {tried.change}")
    )
    counts = ", ".join(f"{n} {outcome}" for outcome, n in progress.outcomes.most_common())
    console.print(
        Text(
            f"{progress.tried} candidates in {repair.seconds:.1f} s, {progress.tried / repair.seconds:.1f}/s ({counts})"
        )
    )
    verdict = "approved" if repair.review.approved else "did not approve"
    console.print(Text(f"reviewer {verdict}: {'; '.join(repair.review.remarks)}"), soft_wrap=True)
