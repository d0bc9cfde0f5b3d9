"""Runs the real pytest of a directory: in this process, or in one of its own that can be killed.

run_tests             for a freshly forked worker; nothing but the deadline stops an endless loop
run_tests_subprocess  for everybody else; ends the whole process group
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from .deadline import Limit, Overdue, deadline
from .fresh_imports import TOOL_ROOT, fresh_imports
from .outcomes import TestReport, TestResult
from .recorder import Recorder

__all__ = ["TestReport", "TestResult", "run_tests", "run_tests_subprocess", "warm_up"]

OUTPUT_CHARS = 4000
START_UP_S = 10.0
"""What a new process may take before its own deadline counts; only then is it killed from outside."""

CONFIGURATION_FILES: tuple[tuple[str, str], ...] = (
    ("pytest.ini", ""),
    (".pytest.ini", ""),
    ("pyproject.toml", r"^\[tool\.pytest\b"),
    ("tox.ini", r"^\[pytest\]"),
    ("setup.cfg", r"^\[tool:pytest\]"),
)


def run_tests(
    directory: str | os.PathLike[str],
    timeout_s: float,
    *,
    fail_fast: bool = False,
    select: Sequence[str] | None = None,
) -> TestReport:
    """Runs pytest on `directory` in the current process, as `python -m pytest` started there would.

    The directory's own configuration, conftest files and installed plugins count; those of its parents do not. No
    bytecode is read or written, no cache is left behind, nothing is printed. `select` names tests by node id.
    A test that is running when `timeout_s` have passed ends as `timeout` and is the last one. May be called again
    in the same process, and afterwards for another directory with the same project in it.

    Meant for a process that is thrown away: what a test changes in the interpreter stays changed, and a test that
    ends the process ends the caller. Changes process-wide state meanwhile (working directory, `sys.path`,
    `sys.stdout`, the alarm signal): one call at a time.
    Raises NotADirectoryError; ValueError for an empty `select`.
    """
    root = Path(directory).resolve()
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: not a directory")
    recorder, printed = Recorder(stop_at_deadline=True), io.StringIO()
    started = time.monotonic()
    limit, exit_code = Limit(), 2
    with tempfile.TemporaryDirectory(prefix="repair-") as scratch, fresh_imports(root):
        arguments = pytest_arguments(root, Path(scratch), select=select)
        if fail_fast:
            arguments.append("--exitfirst")
        try:
            with (
                deadline(timeout_s) as limit,
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(printed),
            ):
                exit_code = int(pytest.main(arguments, plugins=[recorder]))
        except Overdue:
            limit.passed = True
    tests = tuple(recorder.results.values())
    duration_s = round(time.monotonic() - started, 6)
    output = "" if exit_code == 0 else printed.getvalue()[-OUTPUT_CHARS:]
    return TestReport(tests, recorder.errors, limit.passed, exit_code, duration_s, output)


def run_tests_subprocess(
    directory: str | os.PathLike[str],
    timeout_s: float,
    *,
    fail_fast: bool = False,
    select: Sequence[str] | None = None,
    python: str = sys.executable,
) -> TestReport:
    """Like `run_tests`, in a new process and process group, which are gone when this returns, whatever the tests did.

    Costs an interpreter and an import of pytest more (about 0.3 s). A process that outlives its own deadline is
    killed `START_UP_S` later; its report has no tests, and a negative exit code.
    """
    root = Path(directory).resolve()
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: not a directory")
    options = {"fail_fast": fail_fast, "select": list(select) if select is not None else None}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="repair-") as scratch:
        result = Path(scratch) / "report.json"
        arguments = [str(root), str(timeout_s), str(result), json.dumps(options)]
        exit_code, output = run_module(__name__, arguments, timeout_s + START_UP_S, cwd=root, python=python)
        if result.exists():
            return TestReport.from_json(json.loads(result.read_text()))
    timed_out = exit_code == -signal.SIGKILL
    return TestReport((), {}, timed_out, exit_code, round(time.monotonic() - started, 6), output[-OUTPUT_CHARS:])


def warm_up() -> None:
    """Runs a suite of two tests, so that a process forked from this one finds pytest and its plugins imported.

    Saves each of them about half a second. Leaves no thread, no file and none of the modules of that suite behind.
    """
    with tempfile.TemporaryDirectory(prefix="repair-") as place:
        suite = Path(place) / "test_warm_up.py"
        suite.write_text("def test_passes():\n    pass\n\ndef test_fails():\n    assert [1] == [2]\n")
        report = run_tests(place, timeout_s=60.0)
    if report.counts != {"passed": 1, "failed": 1}:
        raise RuntimeError(f"pytest does not work here:\n{report.output}")


def run_module(
    module: str, arguments: Sequence[str], timeout_s: float, *, cwd: Path, python: str = sys.executable
) -> tuple[int, str]:
    """Calls `main(arguments)` of a module of this package in a new interpreter; returns exit code and output.

    Neither the environment nor the search path of the new interpreter is touched, so programs that the tests start
    do not see this package. When `timeout_s` have passed, or the call ends for any other reason, its whole process
    group is killed; the exit code is then `-SIGKILL`.
    """
    start = "import sys; root = sys.argv.pop(1); name = sys.argv.pop(1); sys.path.insert(0, root); import importlib; "
    start += "sys.exit(importlib.import_module(name).main(sys.argv[1:]))"
    command = [python, "-P", "-c", start, str(TOOL_ROOT), module, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            exit_code = -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):  # the group is empty: everybody has ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return exit_code, output.read()


def pytest_arguments(
    root: Path, scratch: Path, *, select: Sequence[str] | None = None, traceback: Literal["line", "short"] = "line"
) -> list[str]:
    """The command line that makes pytest look at `root` and nowhere else, and leave nothing in it.

    `traceback` is how much a failure's message says. "line" by default: drawing the thousand frames of an endless
    recursion takes half a second, and among candidate repairs those are common.
    """
    if select is not None and not select:
        raise ValueError("no tests are selected; pass None to run them all")
    arguments = [f"--rootdir={root}", "-c", str(_configuration(root)), "-o", f"cache_dir={scratch / 'cache'}"]
    arguments += [f"--tb={traceback}", "--color=no"]
    autoload = not os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    if autoload and importlib.util.find_spec("pytest_cov") is not None:
        arguments.append("--no-cov")  # two coverage measurements of one process switch each other off
    return [*arguments, *(select or ())]


def main(arguments: Sequence[str]) -> int:
    """The other side of `run_tests_subprocess`: directory, timeout, where to write the report, options as JSON."""
    directory, timeout_s, result, options = arguments
    report = run_tests(directory, float(timeout_s), **json.loads(options))
    partial = Path(f"{result}.partial")
    partial.write_text(json.dumps(report.to_json()))
    partial.rename(result)
    return 0


def _configuration(root: Path) -> Path:
    """The file pytest itself would choose, were the directory a file system of its own."""
    for name, section in CONFIGURATION_FILES:
        file = root / name
        if file.is_file() and re.search(section, file.read_text(errors="replace"), re.MULTILINE):
            return file
    return Path(os.devnull)
