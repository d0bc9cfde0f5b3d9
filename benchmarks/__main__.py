"""``python -m benchmarks [--only name,…]``: run, print a table, write ``benchmarks/results/*.json``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil

import benchmarks
from benchmarks.harness import Benchmark, run_all

_NOT_BENCHMARKS = {"__main__", "harness", "servers", "spawns"}


def discover() -> dict[str, dict[str, Benchmark]]:
    """The ``BENCHMARKS`` of every module of this package."""
    found: dict[str, dict[str, Benchmark]] = {}
    for info in pkgutil.iter_modules(benchmarks.__path__):
        if info.name not in _NOT_BENCHMARKS:
            module = importlib.import_module(f"benchmarks.{info.name}")
            if table := getattr(module, "BENCHMARKS", None):
                found[info.name] = {benchmark.name: benchmark for benchmark in table}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME,…", help="run these rows only")
    parser.add_argument("--list", action="store_true", help="say what there is")
    given = parser.parse_args()
    tables = discover()
    if given.list:
        print("\n".join(name for table in tables.values() for name in table))
        return
    only = {name.strip() for name in given.only.split(",") if name.strip()} or None
    rows = run_all(tables, only)
    missed = [row.name for row in rows if not row.met]
    print(f"{len(rows)} rows, {len(missed)} missed{': ' if missed else ''}{', '.join(missed)}")


if __name__ == "__main__":
    main()
