"""What one run of a test suite says, in a form that travels as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

Outcome = Literal["passed", "failed", "error", "skipped", "timeout"]
"""`error` is a failure outside the test itself (set-up, tear-down); an expected failure counts as `skipped`."""

BAD = frozenset({"failed", "error", "timeout"})


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test: its pytest node id, how it ended, wall time of set-up, call and tear-down, the trimmed failure."""

    __test__: ClassVar[bool] = False

    id: str
    outcome: Outcome
    duration_s: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """One run. Tests that were not reached (fail-fast, timeout) are not in it."""

    __test__: ClassVar[bool] = False

    tests: tuple[TestResult, ...]
    errors: Mapping[str, str]
    """What could not be collected: node id (mostly a file) to the trimmed message."""
    timed_out: bool
    exit_code: int
    """pytest's own: 0 all passed, 1 some failed, 2 interrupted, 3 internal error, 4 usage, 5 no tests; negative: the
    process was ended by that signal."""
    duration_s: float
    output: str = ""
    """The end of what pytest printed; empty when the run is green."""

    @property
    def green(self) -> bool:
        """Whether the run ended by itself, ran at least one test, and found nothing wrong."""
        return self.exit_code == 0 and not self.timed_out and not self.errors and self.passed > 0 and not self.failing

    @property
    def counts(self) -> Counter[str]:
        return Counter(test.outcome for test in self.tests)

    @property
    def passed(self) -> int:
        return self.counts["passed"]

    @property
    def failed(self) -> int:
        """Failures, errors and timeouts together."""
        return len(self.failing)

    @property
    def failing(self) -> list[str]:
        return [test.id for test in self.tests if test.outcome in BAD]

    def repairs(self, before: TestReport) -> bool:
        """Whether this run is green and every test that passed or failed before passes now.

        A candidate that makes pytest skip or no longer find the failing test is green too, but repairs nothing.
        """
        passing = {test.id for test in self.tests if test.outcome == "passed"}
        return self.green and all(test.id in passing for test in before.tests if test.outcome != "skipped")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "tests": [asdict(test) for test in self.tests], "errors": dict(self.errors)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "tests": tuple(TestResult(**test) for test in data["tests"])})
