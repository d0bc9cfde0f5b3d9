"""Rows, interleaved runs, medians.

A benchmark module has a ``BENCHMARKS`` table: row name → function that returns its `Row`\\ s. Ours and the baseline are
measured in turns within one run, because the machine's speed drifts and only their ratio holds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Better = Literal["higher", "lower"]
RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. ``ratio`` is bigger-is-better whatever is measured; ``demand`` is the least it may be."""

    name: str
    ours: float
    baseline: float
    baseline_name: str
    ratio: float
    demand: float | None
    met: bool
    unit: str
    runs: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``run`` measures one row, or a row and those beside it."""

    name: str
    run: Callable[[], Sequence[Row]]


def row(
    name: str,
    ours: Sequence[float],
    baseline: Sequence[float],
    *,
    baseline_name: str,
    unit: str,
    better: Better,
    demand: float | None,
    note: str = "",
) -> Row:
    """Medians of both sides, and the median of the ratios of neighbouring runs."""
    assert len(ours) == len(baseline)
    pairs = zip(ours, baseline, strict=True)
    ratio = statistics.median(a / b if better == "higher" else b / a for a, b in pairs)
    return Row(
        name=name,
        ours=round(statistics.median(ours), 6),
        baseline=round(statistics.median(baseline), 6),
        baseline_name=baseline_name,
        ratio=round(ratio, 3),
        demand=demand,
        met=demand is None or ratio >= demand,
        unit=unit,
        runs=len(ours),
        note=note,
    )


async def interleave(
    sides: dict[str, Callable[[], Awaitable[float]]], *, runs: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Each side ``runs`` times, in turns; every other round goes backwards, so that drift favours nobody."""
    for side in sides.values():
        for _ in range(warm_up):
            await side()
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs):
        order: Iterable[str] = sides if turn % 2 == 0 else reversed(list(sides))
        for name in order:
            measured[name].append(await sides[name]())
    return measured


def write(file: str, rows: Sequence[Row]) -> Path:
    """Merge ``rows`` into ``results/<file>.json``: rows of other names that are there stay."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{file}.json"
    old = json.loads(path.read_text()) if path.exists() else []
    fresh = {r.name: asdict(r) for r in rows}
    kept = [r for r in old if r["name"] not in fresh]
    path.write_text(json.dumps([*kept, *fresh.values()], indent=1) + "\n")
    return path


HEADER = f"{'row':<26}{'ours':>14}{'baseline':>14}  {'unit':<9}{'ratio':>7}{'demand':>8}  {'':<6}baseline is"


def line(r: Row) -> str:
    demand = "-" if r.demand is None else f"{r.demand:.2f}"
    verdict = "" if r.demand is None else ("met" if r.met else "MISSED")
    note = f" ({r.note})" if r.note else ""
    return (
        f"{r.name:<26}{_number(r.ours):>14}{_number(r.baseline):>14}  {r.unit:<9}{r.ratio:>7.2f}{demand:>8}  "
        f"{verdict:<6}{r.baseline_name}{note}"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def run_all(modules: dict[str, dict[str, Benchmark]], only: set[str] | None) -> list[Row]:
    """Run what was chosen, print each row when it is there, write the results per module."""
    known = {name for table in modules.values() for name in table}
    if only is not None and (unknown := only - known):
        raise SystemExit(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    print(HEADER, flush=True)
    all_rows: list[Row] = []
    for file, table in modules.items():
        rows: list[Row] = []
        for name, benchmark in table.items():
            if only is not None and name not in only:
                continue
            began = time.monotonic()
            for measured in benchmark.run():
                rows.append(measured)
                print(line(measured), flush=True)
            print(f"  [{name}: {time.monotonic() - began:.1f} s]", file=sys.stderr)
        if rows:
            write(file, rows)
        all_rows += rows
    return all_rows
