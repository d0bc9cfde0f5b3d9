"""kill -9 of every part in turn: the system heals, or ends completely; nothing accepted is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from box_agent import Box, aio, skill
from box_agent.agent import Agent
from box_agent.config import AgentSettings
from box_agent.live import register
from hub.local import LocalSystem, read_connection
from hub.local.embedded import PREFIX, YOUNG_S, sweep
from schemas.errors import BoxhubError, CallLost
from tests.integration.hub.test_system import END_S, embedded, environment, line_of, start
from tests.integration.hub.traces import listening, processes_of, until_gone
from tests.servers.nats import NatsBinary

pytestmark = pytest.mark.nats_versions("current")

MESSAGES = 60
TASKS = 12


class Adder(Box):
    @skill
    def add(self, a: int, b: int) -> int:
        time.sleep(0.1)
        return a + b


async def patiently(attempt: Any, *, timeout_s: float = 40.0) -> Any:
    """What a caller does who is told that something is unavailable: try again."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            return await attempt()
        except BoxhubError as error:
            passing = error.retryable or error.code == "box_not_found"
            if not passing or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", ["nats-server", "hub", "node"])
@pytest.mark.nats_versions("all")
async def test_a_part_is_killed_under_load(nats_binary: NatsBinary, tmp_path: Path, victim: str) -> None:
    async with LocalSystem(tmp_path / "home", gateway_port=0, environment=environment(nats_binary)) as system:
        url = system.connection.nats_url
        async with aio.connect("planner", url=url) as planner, aio.connect("coder", url=url) as coder:
            received: list[int] = []
            complete = asyncio.Event()

            async def take(message: Any) -> None:
                received.append(message.data)
                if len(set(received)) == MESSAGES:
                    complete.set()

            await coder.on_message(take)
            await register(planner, Adder)
            await planner.keyvalues.put("before", 1)
            killed = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(send(planner, killed))
                working = [group.create_task(work(planner, n)) for n in range(TASKS)]
                await asyncio.sleep(0.5)
                before = system.children[victim].pid
                os.kill(before, signal.SIGKILL)
                killed.set()
                await sending
                results = [await task for task in working]
            assert results == [n + 1 for n in range(TASKS)]
            async with asyncio.timeout(40):
                await complete.wait()
            assert sorted(received) == list(range(MESSAGES))  # once each: duplicates do not reach a handler
            assert system.children[victim].pid not in (0, before)
            entry = await patiently(lambda: planner.keyvalues.get("before"))
            assert entry.value == 1
            live = await patiently(lambda: planner.spawn(Adder))
            assert await live.add(1, 2) == 3
    assert until_gone(tmp_path / "home", timeout_s=2) == {}


async def test_what_the_hub_was_asked_when_it_was_killed_is_asked_again(
    nats_binary: NatsBinary, tmp_path: Path
) -> None:
    async with LocalSystem(tmp_path / "home", gateway_port=0, environment=environment(nats_binary)) as system:
        settings = AgentSettings(ask_s=0.2)
        async with aio.connect("planner", url=system.connection.nats_url, settings=settings) as planner:
            root = (await planner.workspaces.create("work")).root
            hub = system.children["hub"].pid
            os.kill(hub, signal.SIGSTOP)  # it is asked, and has not read it yet
            asked: list[asyncio.Task[Any]] = [
                asyncio.create_task(planner.workspaces.fork(root, names=["try"], files={"a": "1"})),
                asyncio.create_task(planner.conversations.list()),
                asyncio.create_task(planner.conversations.create("twice would be two")),
            ]
            await asyncio.sleep(0.5)
            os.kill(hub, signal.SIGKILL)
            async with asyncio.timeout(20):  # while each of them has 30 s
                forked, listed, created = await asyncio.gather(*asked, return_exceptions=True)
            assert [b.name for b in forked] == ["try"]
            assert listed == []
            assert isinstance(created, CallLost)
            assert len(await planner.workspaces.branches()) == 2


async def send(planner: Agent, killed: asyncio.Event) -> None:
    """Some before the kill, the rest after it; each is sent until it is accepted."""
    for n in range(MESSAGES):
        if n == MESSAGES // 2:
            await killed.wait()
        await patiently(lambda n=n: planner.send_message("coder", n, id=f"m-{n}"))


async def work(planner: Agent, n: int) -> Any:
    handle = await patiently(lambda: planner.delegate("adder", "add", {"a": n, "b": 1}, id=f"task-{n}"))
    return await patiently(lambda: handle.result(timeout_s=60))


def test_the_supervisor_is_killed(nats_binary: NatsBinary, tmp_path: Path) -> None:
    """Everything ends with it, and the next start finds what was stored, at the same address."""
    home = tmp_path / "home"
    with start(nats_binary, home, "--quiet") as process:
        line_of(process)
        connection = read_connection(home)
        assert connection is not None
        process.kill()
        process.wait(END_S)
        assert until_gone(home, timeout_s=5) == {}
    assert listening(connection) == []
    assert (home / "connection.json").exists()
    assert read_connection(home) is None
    with start(nats_binary, home, "--quiet") as process:
        line_of(process)
        again = read_connection(home)
        assert again is not None
        assert (again.nats_url, again.token) == (connection.nats_url, connection.token)
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0
    assert not (home / "connection.json").exists()


SCRIPT = """
import json, sys, time
import box_agent
from box_agent.config import AgentSettings

agent = box_agent.connect("script")
agent.keyvalues.put("a", 1)
print("working", flush=True)
mode = sys.argv[1]
if mode == "wait":
    time.sleep(300)
elif mode == "raise":
    raise RuntimeError("on purpose")
"""


def script(binary: NatsBinary, temporary: Path, mode: str) -> subprocess.Popen[str]:
    variables = {k: v for k, v in environment(binary).items() if not k.startswith("BOXHUB_")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, mode],
        env={**variables, "TMPDIR": str(temporary), "BOXHUB_HOME": str(temporary / "no-hub-here")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def embedded_homes(temporary: Path) -> list[Path]:
    return list(temporary.glob(f"{PREFIX}*"))


@pytest.mark.parametrize("how", ["end", "raise", "kill", "interrupt"])
def test_a_script_without_a_hub_leaves_nothing(nats_binary: NatsBinary, tmp_path: Path, how: str) -> None:
    mode = {"end": "end", "raise": "raise"}.get(how, "wait")
    with script(nats_binary, tmp_path, mode) as process:
        assert line_of(process) == "working", process.stderr.read() if process.stderr else ""
        homes = embedded_homes(tmp_path)
        if how == "kill":
            process.kill()
        elif how == "interrupt":
            process.send_signal(signal.SIGINT)
        code = process.wait(END_S)
    assert {"end": code == 0, "raise": code == 1, "kill": code == -9, "interrupt": code != 0}[how]
    for home in homes:
        assert until_gone(home, timeout_s=END_S) == {}
    deadline = time.monotonic() + 5  # the directory goes after the last process
    while embedded_homes(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert embedded_homes(tmp_path) == []


def test_an_embedded_supervisor_is_killed(nats_binary: NatsBinary, tmp_path: Path) -> None:
    """Its processes end; its directory is removed by the next one that starts."""
    with embedded(nats_binary, tmp_path) as process:
        json.loads(line_of(process))
        (home,) = embedded_homes(tmp_path)
        process.kill()
        process.wait(END_S)
        assert until_gone(home, timeout_s=5) == {}
    old = time.time() - YOUNG_S - 1
    os.utime(home, (old, old))
    with embedded(nats_binary, tmp_path) as second:
        line_of(second)
        (own,) = embedded_homes(tmp_path)
        assert own != home
        assert second.stdin is not None
        second.stdin.close()
        assert second.wait(END_S) == 0


def test_what_lives_is_not_swept(nats_binary: NatsBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded(nats_binary, tmp_path) as process:
        line_of(process)
        (home,) = embedded_homes(tmp_path)
        old = time.time() - YOUNG_S - 1
        os.utime(home, (old, old))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        sweep()
        assert home.exists()
        assert len(processes_of(home)) >= 3
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(END_S) == 0
