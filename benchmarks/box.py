"""What a box of the local driver costs, as root and as an ordinary user, against a fresh interpreter with imports."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence

from benchmarks.harness import Benchmark, Row
from benchmarks.spawns import BASELINE, measured

_FRESH = f"python -c '{BASELINE}'"
_MIB = 1024 * 1024


def spawn_root() -> Sequence[Row]:
    """One spawn until its first skill has answered; nothing where this is not run by root."""
    return _spawn("spawn_root", as_user=False, demand=15.0) if os.geteuid() == 0 else []


def spawn_user() -> Sequence[Row]:
    return _spawn("spawn_user", as_user=True, demand=10.0)


def _spawn(name: str, *, as_user: bool, demand: float) -> Sequence[Row]:
    found = measured("one_by_one", as_user=as_user)
    if found is None:
        return []
    spawn, discard, fresh = (statistics.median(found[key]) for key in ("spawn", "discard", "baseline"))
    runs = len(found["spawn"])
    slowest = _percentile(found["spawn"], 0.99)
    return [
        _row(name, spawn, fresh, fresh / spawn, demand, "s", runs, _FRESH, f"p99 {slowest * 1000:.1f} ms"),
        _row(name.replace("spawn", "discard"), discard, spawn, spawn / discard, 1.0, "s", runs, "spawn of it"),
    ]


def burst_root() -> Sequence[Row]:
    return _burst("root", as_user=False, demand=100.0) if os.geteuid() == 0 else []


def burst_user() -> Sequence[Row]:
    return _burst("user", as_user=True, demand=60.0)


def _burst(who: str, *, as_user: bool, demand: float) -> Sequence[Row]:
    """Eight at once. The demand is a rate; it is written as the ratio that it means in this run."""
    found = measured("burst", as_user=as_user)
    if found is None:
        return []
    rate, fresh = statistics.median(found["rate"]), statistics.median(found["baseline"])
    runs = len(found["rate"])
    slowest = _percentile(found["each"], 0.99)
    note = f"demand {demand:g}/s"
    return [
        _row(f"spawn_burst_{who}", rate, fresh, rate / fresh, demand / fresh, "boxes/s", runs, _FRESH, note),
        _row(f"spawn_p99_burst_{who}", slowest, 8 / fresh, 8 / fresh / slowest, None, "s", len(found["each"]), _FRESH),
    ]


def box_memory() -> Sequence[Row]:
    """At 200 live boxes. The demand, 3 MB shared in parts and 0.6 MB of the kernel, as the ratio that it means."""
    found = measured("memory", as_user=os.geteuid() != 0)
    if found is None:
        return []
    shared, kernel, fresh = found["shared"][0], found["kernel"][0], found["baseline"][0]
    note = f"PSS {shared / _MIB:.2f} MB + kernel {kernel / _MIB:.2f} MB"
    total, most = shared + kernel, 3.6 * _MIB
    return [_row("box_memory", total / _MIB, fresh / _MIB, fresh / total, fresh / most, "MB", 1, _FRESH, note)]


def live_boxes_1000() -> Sequence[Row]:
    """A thousand live boxes on this machine: until all have answered, and a call when all are there."""
    found = measured("thousand", as_user=os.geteuid() != 0)
    if found is None:
        return []
    start, fresh, runs = found["start"][0], found["baseline"][0], len(found["among"])
    among, alone = statistics.median(found["among"]), statistics.median(found["alone"])
    note = f"all answer; gone in {found['end'][0]:.1f} s"
    return [
        _row("live_boxes_1000", start, fresh, fresh / start, None, "s", 1, f"1000 × {_FRESH}", note),
        _row("live_boxes_1000_call_p50", among, alone, alone / among, None, "s", runs, "a call of the only box"),
    ]


def template_build() -> Sequence[Row]:
    found = measured("build", as_user=os.geteuid() != 0)
    if found is None:
        return []
    built, fresh = statistics.median(found["build"]), statistics.median(found["baseline"])
    return [_row("template_build", built, fresh, fresh / built, None, "s", len(found["build"]), _FRESH)]


def cached_prefix() -> Sequence[Row]:
    """The demand, ours: to stand on what is warm costs at most half as much again as the new part by itself."""
    found = measured("prefix", as_user=os.geteuid() != 0)
    if found is None:
        return []
    cached, uncached, alone = (statistics.median(found[key]) for key in ("cached", "uncached", "alone"))
    note = f"the new part by itself {alone * 1000:.0f} ms"
    demand = uncached / (1.5 * alone)
    runs = len(found["cached"])
    return [_row("cached_prefix", cached, uncached, uncached / cached, demand, "s", runs, "nothing of it warm", note)]


def spawn_beside() -> Sequence[Row]:
    """The same first answer by what a user would pick instead, where this machine has it."""
    found = measured("beside", as_user=os.geteuid() != 0)
    if found is None:
        return []
    spawn = statistics.median(found.pop("spawn"))
    return [
        _row(f"spawn_beside_{name}", spawn, theirs, theirs / spawn, None, "s", len(taken), name)
        for name, taken in found.items()
        for theirs in (statistics.median(taken),)
    ]


def _row(
    name: str,
    ours: float,
    base: float,
    ratio: float,
    demand: float | None,
    unit: str,
    runs: int,
    of: str,
    note: str = "",
) -> Row:
    wanted = None if demand is None else round(demand, 3)
    met = demand is None or ratio >= demand
    return Row(name, round(ours, 6), round(base, 6), of, round(ratio, 3), wanted, met, unit, runs, note)


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


BENCHMARKS = [
    Benchmark("spawn_root", spawn_root),
    Benchmark("spawn_user", spawn_user),
    Benchmark("spawn_burst_root", burst_root),
    Benchmark("spawn_burst_user", burst_user),
    Benchmark("box_memory", box_memory),
    Benchmark("live_boxes_1000", live_boxes_1000),
    Benchmark("template_build", template_build),
    Benchmark("cached_prefix", cached_prefix),
    Benchmark("spawn_beside", spawn_beside),
]
