"""The inside of `suspicious.collect`: pytest under coverage in a process of its own, told line by line to a file.

Each test is a context of its own for coverage.py. What is known so far stands in the file at any moment, so a process
that has to be killed has still told what happened before.
"""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import io
import json
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TextIO

import coverage
import pytest

from .deadline import Overdue, deadline
from .fresh_imports import fresh_imports
from .outcomes import TestResult
from .pytest_run import pytest_arguments
from .recorder import Recorder

LEAST_TEST_TIMEOUT_S = 0.2

TEST_FILES = ("test_*.py", "*_test.py", "conftest.py", "setup.py")
TEST_DIRECTORIES = frozenset({"test", "tests", "testing"})
NOT_SOURCES = frozenset({"site-packages", "dist-packages", "node_modules", "venv", "build", "dist"})


def main(arguments: Sequence[str]) -> int:
    """Directory, file to write to, seconds for the whole run, seconds for one test."""
    directory, result, timeout_s, test_timeout_s = arguments
    root = Path(directory).resolve()
    measured = coverage.Coverage(data_file=None, config_file=False, source=[str(root)])
    # Its advice is for people who look at coverage; as warnings they would fail suites that turn warnings to errors.
    measured.set_option("run:disable_warnings", ["no-data-collected", "module-not-measured", "already-imported"])
    with Path(result).open("w", buffering=1) as told, tempfile.TemporaryDirectory(prefix="repair-") as scratch:
        tracer = Tracer(root, measured, told, float(test_timeout_s))
        printed = io.StringIO()
        with fresh_imports(root), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                with deadline(float(timeout_s)) as limit:
                    measured.start()
                    exit_code = int(
                        pytest.main(pytest_arguments(root, Path(scratch), traceback="short"), plugins=[tracer])
                    )
            except Overdue:
                exit_code = 2
            measured.stop()
        tracer.tell(
            {"kind": "end", "exit_code": exit_code, "timed_out": limit.passed, "output": printed.getvalue()[-2000:]}
        )
    return 0


class Tracer(Recorder):
    """Records outcomes as its parent does, and which lines of the sources each test runs."""

    def __init__(self, root: Path, measured: coverage.Coverage, told: TextIO, test_timeout_s: float) -> None:
        super().__init__(stop_at_deadline=False)
        self._root = root
        self._measured = measured
        self._told = told
        self._test_timeout_s = test_timeout_s
        self._longest_s = 0.0
        self._functions_told: set[str] = set()
        self._test_files: set[str] = set()

    def tell(self, record: dict[str, Any]) -> None:
        self._told.write(json.dumps(record) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Everything run so far was run by importing: by no test and for all of them."""
        self._test_files = {str(item.path) for item in session.items}
        for node, message in self.errors.items():
            self.tell({"kind": "error", "id": node, "message": message})
        self.tell({"kind": "imported", "lines": self._lines_of("")})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.tell({"kind": "start", "id": item.nodeid})
        self._measured.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._measured.switch_context("")
            result = self.results.get(item.nodeid)
            if result is not None:
                self._adapt(result)
                self.tell(
                    {
                        "kind": "test",
                        "id": item.nodeid,
                        "outcome": result.outcome,
                        "duration_s": result.duration_s,
                        "message": result.message,
                        "lines": self._lines_of(item.nodeid),
                        "in_sources": any(self._source(f) for f in self.hanging.get(item.nodeid, ())),
                    }
                )

    def _adapt(self, result: TestResult) -> None:
        """After a hanging test the next gets half the time, but five times what the longest honest one took: a bug
        that makes twenty tests hang costs little more than one that makes two."""
        if result.outcome == "timeout":
            self._test_timeout_s = max(self._test_timeout_s / 2, 5 * self._longest_s + LEAST_TEST_TIMEOUT_S)
        else:
            self._longest_s = max(self._longest_s, result.duration_s)

    # One hanging test must not take the time of all the others. Around these three, pytest catches what is raised.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        with deadline(self._test_timeout_s):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        with deadline(self._test_timeout_s):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        with deadline(self._test_timeout_s):
            return (yield)

    def _lines_of(self, context: str) -> dict[str, list[int]]:
        """The lines run in a context, by path relative to the project; tests left out."""
        data = self._measured.get_data()
        data.set_query_context(context)
        found: dict[str, list[int]] = {}
        for file in sorted(data.measured_files()):
            path = self._source(file)
            lines = data.lines(file) if path is not None else None
            if path is not None and lines:
                found[path] = sorted(lines)
                self._tell_functions(path)
        return found

    def _source(self, file: str) -> str | None:
        """The path of a source file relative to the project; None for tests and files that are not the project's."""
        if file in self._test_files:
            return None
        try:
            path = Path(file).relative_to(self._root)
        except ValueError:
            return None
        if any(part in NOT_SOURCES or part in TEST_DIRECTORIES or part.startswith(".") for part in path.parts[:-1]):
            return None
        if path.suffix != ".py" or any(fnmatch.fnmatch(path.name, pattern) for pattern in TEST_FILES):
            return None
        return path.as_posix()

    def _tell_functions(self, path: str) -> None:
        """Where the functions of a file begin and end, and on which lines importing does something worth a look."""
        if path in self._functions_told:
            return
        self._functions_told.add(path)
        tree = ast.parse((self._root / path).read_bytes())
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        spans = [(f.lineno, f.end_lineno) for f in functions]
        self.tell({"kind": "file", "path": path, "functions": spans, "plain": _plain_lines(tree)})


def _plain_lines(tree: ast.Module) -> list[int]:
    """Lines that importing runs and no edit improves: imports, docstrings, headers without default values."""
    plain: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None):
                plain.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            case ast.ClassDef() | ast.FunctionDef(args=ast.arguments(defaults=[], kw_defaults=[])):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                plain.update(range(first, node.body[0].lineno))
    return sorted(plain)
