"""A whole local system: real nats-server, hub process, node process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent import Box, aio, skill
from box_agent.agent import Agent
from box_agent.live import register
from hub.local import LocalSystem, read_connection, status, stop
from schemas.errors import AlreadyExists, BoxNotFound, DriverUnavailable, Unavailable
from schemas.tree import TreeEntry, blob_hash, encode_tree
from tests.integration.hub.traces import listening, processes_of, until_gone
from tests.servers.nats import NatsBinary

pytestmark = pytest.mark.nats_versions("current")

END_S = 15


def environment(binary: NatsBinary) -> dict[str, str]:
    """This test's nats-server first."""
    return {**os.environ, "PATH": f"{binary.path.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


@pytest.fixture
async def system(nats_binary: NatsBinary, tmp_path: Path) -> AsyncIterator[LocalSystem]:
    async with LocalSystem(tmp_path / "home", gateway_port=0, environment=environment(nats_binary)) as system:
        yield system


@pytest.fixture
async def planner(system: LocalSystem) -> AsyncIterator[Agent]:
    async with aio.connect("planner", url=system.connection.nats_url) as agent:
        yield agent


class Counter(Box):
    """Keeps a number."""

    total = 0

    @skill
    def add(self, n: int) -> int:
        self.total += n
        return self.total

    @skill
    def read(self, path: str) -> str:
        return Path(path).read_text()

    @skill
    def pid(self) -> int:
        return os.getpid()


@pytest.mark.nats_versions("all")
async def test_a_box_is_spawned_through_the_hub_and_called(planner: Agent, system: LocalSystem) -> None:
    counter = await planner.spawn(Counter)
    assert await counter.add(2) == 2
    assert await counter.add(3) == 5
    assert await counter.pid() != os.getpid()
    running = processes_of(system.home.directory)
    await counter.stop()
    with pytest.raises(BoxNotFound):
        await counter.add(1)
    assert len(processes_of(system.home.directory)) <= len(running) - 2, "its keeper and its worker have ended"


async def test_a_workspace_is_imported_forked_mounted_and_committed(planner: Agent) -> None:
    files = {"a.txt": b"one\n", "b.txt": b"two\n"}
    entries = {n: TreeEntry(kind="file", hash=blob_hash(d), size=len(d)) for n, d in files.items()}
    tree = encode_tree(entries)
    await planner.blobs.put_many({**{blob_hash(d): d for d in files.values()}, blob_hash(tree): tree})
    workspace = await planner.workspaces.create("job", blob_hash(tree))
    one, two = await planner.workspaces.fork(workspace.root, names=["x", "y"], files={"a.txt": "changed\n"})
    box = await planner.spawn(Counter, branch=one.id)
    assert await box.read("a.txt") == "changed\n"
    assert await box.read("b.txt") == "two\n"
    result = await planner.workspaces.commit(one.id)
    assert [change.path for change in result.changes] == ["a.txt"]
    await planner.workspaces.discard(two.id)
    assert (await planner.workspaces.branch(workspace.root)).head == one.head


async def test_a_task_runs_on_the_node(planner: Agent) -> None:
    await register(planner, Counter)
    handle = await planner.delegate("counter", "add", {"n": 4}, id="task-once")
    assert await handle.result(timeout_s=20) == 4
    again = await planner.delegate("counter", "add", {"n": 4}, id="task-once")
    assert (await again.get()).attempts[0].number == 1


async def test_it_says_where_it_is(system: LocalSystem) -> None:
    home = system.home.directory
    assert read_connection(home) == system.connection
    assert stat.S_IMODE((home / "connection.json").stat().st_mode) == 0o600
    now = status(home)
    assert (now.running, now.ready, now.pid) == (True, True, os.getpid())
    assert {p["name"]: p["state"] for p in now.processes} == {
        "nats-server": "running",
        "hub": "running",
        "node": "running",
    }
    connection = system.connection

    def ask(path: str, token: str) -> int:
        request = urllib.request.Request(connection.gateway_url + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert await asyncio.to_thread(ask, "/api/v1/boxes", connection.token) == 200
    assert await asyncio.to_thread(ask, "/api/v1/boxes", "wrong") == 401
    assert await asyncio.to_thread(ask, "/readyz", connection.token) == 200


async def test_one_system_per_home_and_nothing_left(nats_binary: NatsBinary, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with LocalSystem(home, gateway_port=0, environment=environment(nats_binary)) as system:
        with pytest.raises(AlreadyExists, match=str(os.getpid())):
            async with LocalSystem(home):
                pytest.fail("entered")
        connection = system.connection
        async with aio.connect("planner", url=connection.nats_url) as planner:
            await planner.spawn(Counter)
        assert len(processes_of(home)) >= 3
    assert until_gone(home, timeout_s=1) == {}
    assert listening(connection) == []
    assert not (home / "connection.json").exists()
    assert not (home / "status.json").exists()
    assert read_connection(home) is None


async def test_what_was_stored_is_there_in_the_next_run(nats_binary: NatsBinary, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = LocalSystem(home, gateway_port=0, environment=environment(nats_binary))
    async with first, aio.connect("planner", url=first.connection.nats_url) as planner:
        await planner.keyvalues.put("kept", 1)
        await planner.send_message("later", "hello")
    second = LocalSystem(home, gateway_port=0, environment=environment(nats_binary))
    async with second:
        assert second.connection.nats_url == first.connection.nats_url
        assert second.connection.token == first.connection.token
        async with aio.connect("later", url=second.connection.nats_url) as later:
            entry = await later.keyvalues.get("kept")
            assert entry is not None
            assert entry.value == 1
            async with asyncio.timeout(10):
                async for message in later.inbox():
                    assert message.data == "hello"
                    break


async def test_no_nats_server_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.local.nats.which", lambda name, path: None)
    with pytest.raises(DriverUnavailable, match="install it"):
        async with LocalSystem(tmp_path / "home"):
            pytest.fail("entered")
    assert processes_of(tmp_path / "home") == {}


async def test_a_hub_that_cannot_start_is_said_so(nats_binary: NatsBinary, tmp_path: Path) -> None:
    home = tmp_path / "home"
    broken = {**environment(nats_binary), "BOXHUB_LOG_LEVEL": "deafening"}
    with pytest.raises(Unavailable, match="BOXHUB_LOG_LEVEL") as failed:
        async with LocalSystem(home, gateway_port=0, environment=broken):
            pytest.fail("entered")
    assert "hub.log" in str(failed.value)
    assert until_gone(home, timeout_s=1) == {}


# --- as a process of its own -------------------------------------------------------------------------------------


def start(binary: NatsBinary, home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hub.local", "--home", str(home), "--port", "0", *arguments],
        env=environment(binary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(nats_binary: NatsBinary, tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "home"
    with start(nats_binary, home, "--quiet") as process:
        assert line_of(process).startswith("http://127.0.0.1:")
        process.send_signal(number)
        assert process.wait(END_S) == 0
    assert until_gone(home, timeout_s=1) == {}


def test_a_signal_while_it_starts_ends_it_too(nats_binary: NatsBinary, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start(nats_binary, home) as process:
        while not (home / "status.json").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 130
    assert until_gone(home, timeout_s=1) == {}


def test_a_second_signal_kills(nats_binary: NatsBinary, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start(nats_binary, home) as process:
        assert line_of(process).startswith("boxhub is ready")
        (node,) = [pid for pid, command in processes_of(home).items() if "box_agent.node" in command]
        os.kill(node, signal.SIGSTOP)  # it will not end in order
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "once more" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
    assert until_gone(home, timeout_s=2) == {}


def test_down_waits_until_it_has_ended(nats_binary: NatsBinary, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert not stop(home)
    with start(nats_binary, home, "--quiet") as process:
        line_of(process)
        assert stop(home)
        assert until_gone(home, timeout_s=0.5).keys() <= {process.pid}
        assert process.wait(END_S) == 0
    assert not stop(home)


def test_a_second_up_says_who_runs(nats_binary: NatsBinary, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start(nats_binary, home, "--quiet") as first:
        line_of(first)
        with start(nats_binary, home) as second:
            assert second.wait(END_S) == 1
            assert second.stderr is not None
            assert f"pid {first.pid}" in second.stderr.read()
        first.send_signal(signal.SIGTERM)
        assert first.wait(END_S) == 0


def test_the_embedded_record_is_one_line_of_json(nats_binary: NatsBinary, tmp_path: Path) -> None:
    with embedded(nats_binary, tmp_path) as process:
        record = json.loads(line_of(process))
        assert set(record) == {"pid", "nats_url", "gateway_url", "token", "tenant", "version", "home"}
        assert record["pid"] == process.pid
        (home,) = tmp_path.glob("boxhub-embedded-*")
        assert record["home"] == str(home)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert process.stdin is not None
        process.send_signal(signal.SIGINT)  # Ctrl-C is the script's
        process.stdin.close()
        assert process.wait(END_S) == 0
    assert list(tmp_path.iterdir()) == []
    assert until_gone(home, timeout_s=1) == {}


def embedded(binary: NatsBinary, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hub.local", "--embedded"],
        env={**environment(binary), "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
