"""The demo as a user runs it: it repairs, refuses bad input clearly, survives kills, and leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from examples.repair import problem
from hub.local import LocalSystem
from schemas.tree import blob_hash
from tests.e2e.running import ROOT, none_left, processes_of, run, started, system_in

PROGRAMS = ROOT / "benchmarks" / "programs"
pytestmark = [pytest.mark.timeout(240)]
EXIT = {"DEMO_EXIT": "1"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """One system for the tests that do not kill it."""
    home = tmp_path_factory.mktemp("repair-home")
    async with system_in(home):
        yield home
    await none_left(home)


def _copy(name: str, to: Path) -> Path:
    return Path(shutil.copytree(PROGRAMS / name, to / name))


def _contents(directory: Path) -> dict[str, str]:
    return {str(p): blob_hash(p.read_bytes()) for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.mark.asyncio(loop_scope="module")
async def test_it_repairs_and_leaves_the_directory_alone(home, tmp_path):
    project = _copy("account", tmp_path)
    before = _contents(project)
    done = await run("examples.repair", str(project), "--budget", "100", home=home, env=EXIT)
    assert done.code == problem.REPAIRED, done
    assert "+        if amount > self.available:" in done.out
    assert "repaired by coder-" in done.out
    assert "candidates in" in done.out
    assert "reviewer approved" in done.out
    assert "dashboard  http://127.0.0.1:" in done.out
    assert _contents(project) == before


@pytest.mark.asyncio(loop_scope="module")
async def test_the_bundled_sample_takes_a_search(home):
    done = await run("examples.repair", home=home, env=EXIT, timeout_s=150)
    assert done.code == problem.REPAIRED, done
    tried = int(re.search(r"(\d+) candidates in", done.out).group(1))
    assert 40 <= tried <= 250
    assert "roombook/planner.py" in done.out


@pytest.mark.asyncio(loop_scope="module")
async def test_apply_writes_the_repair_and_the_tests_pass_then(home, tmp_path):
    project = _copy("account", tmp_path)
    done = await run("examples.repair", str(project), "--budget", "100", "--apply", home=home, env=EXIT)
    assert done.code == problem.REPAIRED, done
    again = await run("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project), str(project), home=home)
    assert again.code == 0, again
    green = await run("examples.repair", str(project), home=home, env=EXIT)
    assert green.code == problem.ALREADY_GREEN, green


@pytest.mark.asyncio(loop_scope="module")
async def test_a_budget_that_is_too_small_ends_with_1_and_commits_nothing(home, tmp_path):
    done = await run("examples.repair", str(_copy("account", tmp_path)), "--budget", "3", home=home, env=EXIT)
    assert done.code == problem.NOT_REPAIRED, done
    assert "not repaired" in done.out
    assert "3 candidates tried" in done.out


def _hanging(at: Path) -> None:
    (at / "test_hang.py").write_text("import time\ndef test_hang():\n    while True: time.sleep(1)\n")


def _huge(at: Path) -> None:
    (at / "test_x.py").write_text("def test_x(): assert False\n")
    with (at / "data.bin").open("wb") as file:
        file.truncate(2 * 1024**3)


BAD_INPUT: dict[str, tuple[Any, int, str]] = {
    "no-tests": (lambda at: (at / "m.py").write_text("x = 1\n"), problem.NO_TESTS, "pytest finds no tests"),
    "empty": (lambda at: None, problem.NO_TESTS, "no Python files"),
    "green": (lambda at: (at / "test_x.py").write_text("def test_x(): pass\n"), problem.ALREADY_GREEN, "add a test"),
    "syntax-error": (lambda at: (at / "test_x.py").write_text("def test_x(:\n"), problem.BROKEN, "test_x.py"),
    "hanging": (_hanging, problem.HANGS, "--suite-timeout"),
    "2-gb": (_huge, problem.TOO_LARGE, "64 MB"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", BAD_INPUT)
async def test_bad_input_is_one_clear_line_and_an_exit_code_of_its_own(home, tmp_path, case):
    make, code, says = BAD_INPUT[case]
    project = tmp_path / case
    project.mkdir()
    make(project)
    timeout = "3" if case == "hanging" else "40"
    done = await run("examples.repair", str(project), "--suite-timeout", timeout, home=home, env=EXIT)
    assert done.code == code, done
    assert says in done.err, done
    assert len(done.err.strip().splitlines()) == 1, done


async def test_what_is_no_directory_starts_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    for path, says in ((tmp_path / "file", "is not a directory"), (tmp_path / "absent", "does not exist")):
        done = await run("examples.repair", str(path), home=tmp_path / "home", env=EXIT)
        assert (done.code, says in done.err) == (problem.NOT_A_DIRECTORY, True), done
    assert not (tmp_path / "home").exists()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_read_only_tree_is_repaired_but_not_applied(home, tmp_path):
    project = _copy("account", tmp_path)
    for path in (project, *project.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    done = await run("examples.repair", str(project), "--budget", "100", home=home, env=EXIT)
    assert done.code == problem.REPAIRED, done
    if os.access(project, os.W_OK):
        return  # root may write anywhere: there is nothing to refuse
    done = await run("examples.repair", str(project), "--apply", home=home, env=EXIT)
    assert done.code == problem.NOT_WRITABLE, done


@pytest.mark.parametrize("part", ["hub", "node", "nats-server"])
async def test_killing_a_part_in_the_middle_delays_it_and_loses_nothing(tmp_path, part):
    home = tmp_path / "home"
    async with system_in(home) as system:
        project = _copy("account", tmp_path)
        async with started("examples.repair", str(project), "--budget", "100", home=home, env=EXIT) as demo:
            await _trying(system)
            system.children[part].kill()
            async with asyncio.timeout(150):
                out, err = await demo.communicate()
        assert demo.returncode == problem.REPAIRED, f"{out.decode()}\n{err.decode()}"
        assert "repaired by coder-" in out.decode()
    await none_left(home)


async def _trying(system: LocalSystem) -> None:
    """Until the team is in the middle of it: some candidates were tried."""
    from box_agent import aio

    tried = asyncio.Event()
    url = system.connection.nats_url
    async with aio.connect("onlooker", url=url) as onlooker, asyncio.timeout(90):
        await onlooker.on_event("repair.tried", lambda event: tried.set(), durable=False, from_sequence=1)
        await tried.wait()


async def test_without_a_hub_it_starts_one_and_leaves_nothing(tmp_path):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    home = tmp_path / "home"
    env = {**EXIT, "TMPDIR": str(scratch)}
    done = await run("examples.repair", str(_copy("account", tmp_path)), "--budget", "100", home=home, env=env)
    assert done.code == problem.REPAIRED, done
    await none_left(scratch)
    assert not list(scratch.iterdir()), "temporary files are left"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_interrupted_or_killed_it_leaves_no_process(tmp_path, number):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    env = {"TMPDIR": str(scratch)}
    async with started("examples.repair", str(_copy("account", tmp_path)), home=tmp_path / "home", env=env) as demo:
        assert demo.stdout is not None
        async with asyncio.timeout(60):
            await demo.stdout.readuntil(b"dashboard")
        assert processes_of(scratch)
        demo.send_signal(number)
        async with asyncio.timeout(30):
            await demo.wait()
    await none_left(scratch)


class _Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that knows the repair."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        _Model.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        edit = {
            "path": "account.py",
            "line": 31,
            "old": "if amount > self.balance:",
            "new": "if amount > self.available:",
        }
        content = f"Here you are:\n```json\n{json.dumps([{'path': 'nowhere.py'}, edit])}\n```"
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.asyncio(loop_scope="module")
async def test_a_language_model_joins_the_team(home, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        env = {**EXIT, "BOXHUB_LLM_URL": f"http://127.0.0.1:{server.server_port}/v1", "NO_PROXY": "127.0.0.1"}
        project = str(_copy("account", tmp_path))
        done = await run("examples.repair", project, "--coders", "1", "--parallel", "1", home=home, env=env)
    finally:
        server.shutdown()
        server.server_close()
    assert done.code == problem.REPAIRED, done
    assert "repaired by coder-llm" in done.out
    text = json.dumps(_Model.asked[0]["messages"])
    assert "test_overdraft" in text
    assert "Answer with JSON only" in text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_model_that_does_not_answer_does_not_stop_the_others(home, tmp_path):
    env = {**EXIT, "BOXHUB_LLM_URL": "http://127.0.0.1:9/v1"}
    project = str(_copy("account", tmp_path))
    done = await run("examples.repair", project, "--budget", "4", "--coders", "1", home=home, env=env)
    assert done.code == problem.NOT_REPAIRED, done
