"""The Box in which tests run: pytest is imported once, in the warm template; each live box is a fork of it."""

from __future__ import annotations

from typing import Any

from box_agent import Box, Context, skill
from examples.repair.pytest_run import run_tests, warm_up
from examples.repair.suspicious import collect


class PytestRunner(Box):
    """Runs the real pytest of the project that is mounted as its directory."""

    name = "pytest-runner"

    def setup(self) -> None:
        warm_up()

    @skill
    def run_tests(self, context: Context, first: list[str], timeout_s: float = 60.0) -> dict[str, Any]:
        """A report of the whole suite; of the tests in ``first`` alone when one of those fails already.

        A candidate that repairs nothing is told apart by the tests that failed before, so most runs are short.
        """
        if first:
            report = run_tests(context.directory, timeout_s, fail_fast=True, select=first)
            if not report.green:
                return report.to_json()
            context.progress(0.5, "the failing tests pass, now the whole suite")
        return run_tests(context.directory, timeout_s, fail_fast=True).to_json()

    @skill
    def collect(self, context: Context, timeout_s: float = 60.0) -> dict[str, Any]:
        """Which lines each test runs, and how each test ends."""
        context.log("running the suite under coverage")
        return collect(context.directory, timeout_s).to_json()
