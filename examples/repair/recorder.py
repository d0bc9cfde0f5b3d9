"""The pytest plugin that writes down what happens, and keeps other plugins from running the tests elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from .deadline import Overdue
from .outcomes import Outcome, TestResult

MESSAGE_CHARS = 800
SEVERITY: dict[str, int] = {"skipped": 0, "passed": 1, "error": 2, "failed": 3, "timeout": 4}


class Recorder:
    """Outcomes of the tests in the order they were run. One instance serves one session."""

    def __init__(self, *, stop_at_deadline: bool) -> None:
        self._stop_at_deadline = stop_at_deadline
        self.results: dict[str, TestResult] = {}
        self.errors: dict[str, str] = {}
        self.hanging: dict[str, list[str]] = {}
        """Tests a deadline ended, with the files that were running then, innermost last."""

    # --- taking over ----------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> None:
        """Run everything in this process, even where the project's options ask xdist for workers."""
        if hasattr(config.option, "numprocesses"):
            config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Only one can have the alarm signal: our deadline replaces pytest-timeout's."""
        plugin = config.pluginmanager.get_plugin("timeout")
        if plugin is not None:
            config.pluginmanager.unregister(plugin)

    # --- writing down ---------------------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors[report.nodeid or "the session"] = trimmed(report.longreprtext)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.excinfo is not None and call.excinfo.errisinstance(Overdue):
            self.hanging[item.nodeid] = [str(Path(entry.path)) for entry in call.excinfo.traceback]
            report.outcome = "failed"
            if self._stop_at_deadline:
                item.session.shouldstop = "the deadline has passed"
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for set-up, call and tear-down (and sub-tests): the worst of them is the test's outcome."""
        outcome = self._outcome(report)
        before = self.results.get(report.nodeid)
        duration_s = report.duration + (before.duration_s if before is not None else 0.0)
        message = trimmed(report.longreprtext) if outcome in ("failed", "error", "timeout") else ""
        if before is not None and SEVERITY[before.outcome] >= SEVERITY[outcome]:
            outcome, message = before.outcome, before.message or message
        elif before is None and outcome == "passed" and report.when == "setup":
            return  # nothing is known before the call
        self.results[report.nodeid] = TestResult(report.nodeid, outcome, round(duration_s, 6), message)

    def _outcome(self, report: pytest.TestReport) -> Outcome:
        if report.failed:
            if report.nodeid in self.hanging:
                return "timeout"
            return "failed" if report.when == "call" else "error"
        return "skipped" if report.skipped else "passed"


def trimmed(text: str) -> str:
    """The end of a failure, where the exception stands, at most `MESSAGE_CHARS` long."""
    text = text.strip()
    return text if len(text) <= MESSAGE_CHARS else f"…{text[1 - MESSAGE_CHARS :]}"
