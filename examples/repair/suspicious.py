"""Which lines are suspicious: spectrum-based fault localisation over the coverage of each test.

    collect(project, timeout_s) -> Spectrum     runs the suite once, in a process of its own, under coverage
    rank(spectrum) -> list[Suspicious]          Ochiai, most suspicious first

Ochiai (Abreu, Zoeteweij and van Gemund, 2006) of a line is failed(line) / sqrt(failed * (failed(line) + passed(line))):
1 for a line that all failing tests run and no other, 0 for a line that no failing test runs.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from .outcomes import BAD, Outcome
from .pytest_run import START_UP_S, run_module

TEST_SHARE = 0.15
"""Part of the time for the whole run that one test may take before it is ended as hanging."""

Lines = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TestTrace:
    """One test: node id, outcome, seconds, the lines of the sources it ran, the trimmed failure."""

    __test__: ClassVar[bool] = False

    id: str
    outcome: Outcome
    duration_s: float
    lines: Lines
    message: str = ""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """One run of a suite under coverage. Paths are relative to the project, with `/`."""

    tests: tuple[TestTrace, ...]
    imported: Lines
    """Lines that importing ran, outside every test, without those that no edit improves (imports, plain headers)."""
    functions: Mapping[str, tuple[tuple[int, int], ...]]
    """First and last line of the functions of each file."""
    errors: Mapping[str, str]
    """What could not be collected: node id to the trimmed message."""
    timed_out: bool
    """The run did not end by itself, or a test hangs without being in the project's sources: no edit of those helps.
    A test that hangs *in* them has the outcome `timeout` and counts as failing like any other."""
    exit_code: int
    output: str = ""
    """The end of what pytest printed; for a run that went wrong altogether."""

    @property
    def sources(self) -> list[str]:
        """The project's own files that were run, tests left out."""
        return sorted(self.functions)

    @property
    def failing(self) -> list[str]:
        return [test.id for test in self.tests if test.outcome in BAD]

    @property
    def failures(self) -> dict[str, str]:
        """Failing tests and their messages."""
        return {test.id: test.message for test in self.tests if test.outcome in BAD}

    def to_json(self) -> dict[str, Any]:
        """Line numbers travel as ranges, "3-9,12"; a third of the size on usual code."""
        tests = [
            {
                "id": t.id,
                "outcome": t.outcome,
                "duration_s": t.duration_s,
                "lines": _packed(t.lines),
                "message": t.message,
            }
            for t in self.tests
        ]
        return {
            "tests": tests,
            "imported": _packed(self.imported),
            "functions": {path: [list(span) for span in spans] for path, spans in self.functions.items()},
            "errors": dict(self.errors),
            "timed_out": self.timed_out,
            "exit_code": self.exit_code,
            "output": self.output,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        tests = tuple(TestTrace(**{**test, "lines": _unpacked(test["lines"])}) for test in data["tests"])
        functions = {path: tuple((a, b) for a, b in spans) for path, spans in data["functions"].items()}
        return cls(**{**data, "tests": tests, "imported": _unpacked(data["imported"]), "functions": functions})


class Suspicious(NamedTuple):
    """A line and how suspicious it is, in 0..1."""

    path: str
    line: int
    score: float


def ochiai(failed_here: int, passed_here: int, failed: int) -> float:
    """0 where no failing test comes by, or none fails at all."""
    return failed_here / sqrt(failed * (failed_here + passed_here)) if failed_here else 0.0


def rank(spectrum: Spectrum) -> list[Suspicious]:
    """Every line that a failing test runs, most suspicious first.

    Among equals: fewer passing tests run the line; fewer tests run the function it stands in (the special one before
    the general one); then path and line. A line that only importing runs counts as run by every test that runs
    anything of its file, or by all tests where none does. Skipped tests tell nothing.
    """
    told = [test for test in spectrum.tests if test.outcome in BAD or test.outcome == "passed"]
    failed = sum(1 for test in told if test.outcome in BAD)
    places = _tests_by_line(spectrum, told)
    busy = _tests_by_function(spectrum, places)
    ranked: list[tuple[float, int, int, str, int]] = []
    for (path, line), tests in places.items():
        failed_here = sum(1 for index in tests if told[index].outcome in BAD)
        passed_here = len(tests) - failed_here
        score = ochiai(failed_here, passed_here, failed)
        if score > 0.0:
            function = _function_at(spectrum, path, line)
            ranked.append((-score, passed_here, busy.get((path, function), len(told)), path, line))
    return [Suspicious(path, line, -negative) for negative, _, _, path, line in sorted(ranked)]


def collect(project: str | os.PathLike[str], timeout_s: float, *, test_timeout_s: float | None = None) -> Spectrum:
    """Runs the project's real pytest in a new process, under coverage, and tells which test ran what.

    A test that takes longer than `test_timeout_s` (default: `TEST_SHARE` of `timeout_s`) is ended and has the outcome
    `timeout`; the others still run. After `timeout_s` the run is ended, what cannot be ended from within is killed
    a little later, and what was known by then is returned with `timed_out`. Leaves no process and no file behind.
    Raises NotADirectoryError. Everything that can go wrong with the suite itself is in the result.
    """
    root = Path(project).resolve()
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: not a directory")
    each_s = test_timeout_s if test_timeout_s is not None else timeout_s * TEST_SHARE
    with tempfile.TemporaryDirectory(prefix="repair-") as scratch:
        told = Path(scratch) / "told.jsonl"
        arguments = [str(root), str(told), str(timeout_s), str(each_s)]
        module = f"{__package__}.coverage_run"
        exit_code, output = run_module(module, arguments, timeout_s + START_UP_S, cwd=root)
        records = _read(told) if told.exists() else []
    return _assemble(records, exit_code, output)


@dataclass(slots=True)
class _Told:
    tests: dict[str, TestTrace] = field(default_factory=dict)
    imported: dict[str, tuple[int, ...]] = field(default_factory=dict)
    functions: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    plain: dict[str, set[int]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def _assemble(records: Iterable[Mapping[str, Any]], exit_code: int, output: str) -> Spectrum:
    told, running = _Told(), ""
    timed_out = exit_code == -signal.SIGKILL
    for record in records:
        match record["kind"]:
            case "start":
                running = record["id"]
            case "test":
                lines = {path: tuple(numbers) for path, numbers in record["lines"].items()}
                told.tests[record["id"]] = TestTrace(
                    record["id"], record["outcome"], record["duration_s"], lines, record["message"]
                )
                timed_out = timed_out or (record["outcome"] == "timeout" and not record["in_sources"])
                running = ""
            case "imported":
                told.imported = {path: tuple(numbers) for path, numbers in record["lines"].items()}
            case "file":
                told.functions[record["path"]] = tuple((a, b) for a, b in record["functions"])
                told.plain[record["path"]] = set(record["plain"])
            case "error":
                told.errors[record["id"]] = record["message"]
            case "end":
                exit_code, output = record["exit_code"], record["output"]
                timed_out = timed_out or record["timed_out"]
    if running:  # the process did not survive this test
        outcome: Outcome = "timeout" if timed_out else "error"
        told.tests[running] = TestTrace(running, outcome, 0.0, {}, f"the process ended with {exit_code}")
    imported = {
        path: tuple(n for n in numbers if n not in told.plain.get(path, ())) for path, numbers in told.imported.items()
    }
    return Spectrum(
        tests=tuple(told.tests.values()),
        imported={path: numbers for path, numbers in imported.items() if numbers},
        functions=told.functions,
        errors=told.errors,
        timed_out=timed_out,
        exit_code=exit_code,
        output=output[-2000:] if exit_code not in (0, 1) else "",
    )


def _read(told: Path) -> list[dict[str, Any]]:
    """The records; a last line that the process did not finish writing is left out."""
    return [json.loads(line) for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _tests_by_line(spectrum: Spectrum, told: list[TestTrace]) -> dict[tuple[str, int], set[int]]:
    places: dict[tuple[str, int], set[int]] = {}
    by_file: dict[str, set[int]] = {}
    for index, test in enumerate(told):
        for path, lines in test.lines.items():
            by_file.setdefault(path, set()).add(index)
            for line in lines:
                places.setdefault((path, line), set()).add(index)
    for path, lines in spectrum.imported.items():
        for line in lines:
            places.setdefault((path, line), by_file.get(path) or set(range(len(told))))
    return places


def _tests_by_function(
    spectrum: Spectrum, places: Mapping[tuple[str, int], set[int]]
) -> dict[tuple[str, tuple[int, int] | None], int]:
    """How many tests run anything of a function."""
    tests: dict[tuple[str, tuple[int, int] | None], set[int]] = {}
    for (path, line), here in places.items():
        tests.setdefault((path, _function_at(spectrum, path, line)), set()).update(here)
    return {function: len(here) for function, here in tests.items()}


def _function_at(spectrum: Spectrum, path: str, line: int) -> tuple[int, int] | None:
    """The innermost function around a line; its first line (the `def`) belongs to what is outside."""
    around = [span for span in spectrum.functions.get(path, ()) if span[0] < line <= span[1]]
    return max(around, default=None)


def _packed(lines: Lines) -> dict[str, str]:
    return {path: _ranges(numbers) for path, numbers in lines.items()}


def _ranges(numbers: tuple[int, ...]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}-{b}" if a < b else str(a) for a, b in parts)


def _unpacked(packed: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    return {path: tuple(_numbers(text)) for path, text in packed.items()}


def _numbers(text: str) -> Iterable[int]:
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
