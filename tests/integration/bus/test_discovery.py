"""Where the bus is: told, in the settings, in a connection file, or started quietly."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from box_agent import discovery
from box_agent.config import AgentSettings
from box_agent.discovery import Found, discover
from schemas.errors import BusUnavailable

PROJECT = Path(__file__).parents[3]


def record(home: Path, **fields: Any) -> None:
    home.mkdir(parents=True, exist_ok=True)
    content = {"pid": os.getpid(), "nats_url": "nats://u:p@127.0.0.1:4222", "tenant": "t", "gateway_url": "g", **fields}
    (home / "connection.json").write_text(json.dumps(content))


def test_the_order(tmp_path: Path) -> None:
    record(tmp_path)
    configured = AgentSettings(nats_url="nats://configured", home=tmp_path)
    assert discover("nats://given", configured) == Found("nats://given")
    assert discover(None, configured) == Found("nats://configured")
    found = discover(None, AgentSettings(nats_url="", home=tmp_path))
    assert (found.url, found.tenant, found.gateway_url) == ("nats://u:p@127.0.0.1:4222", "t", "g")


def test_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXHUB_NATS_URL", "nats://from-environment")
    monkeypatch.setenv("BOXHUB_HOME", str(tmp_path))
    assert discover(None, AgentSettings()).url == "nats://from-environment"


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "nats_url": "y"}'])
def test_a_broken_connection_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "connection.json").write_text(content)
    assert discovery.running_hub(tmp_path / "connection.json") is None


def test_the_file_of_a_dead_hub_is_as_good_as_none(tmp_path: Path) -> None:
    record(tmp_path, pid=_dead_pid())
    assert discovery.running_hub(tmp_path / "connection.json") is None


def test_without_the_hub_extra_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else find(name))
    with pytest.raises(BusUnavailable, match=r"boxhub\[hub\]"):
        discovery.embedded_hub()


def test_a_script_with_no_hub_around_starts_one_and_leaves_nothing(tmp_path: Path) -> None:
    code = """
        import subprocess, box_agent
        one = box_agent.connect("one")
        two = box_agent.connect("two")

        @one.skill
        def double(n: int) -> int:
            return 2 * n

        print(two.call(one, "double", 4))
        two.keyvalues.put("k", {"v": 1})
        print(one.keyvalues.get("k").value)
        from box_agent.discovery import _once
        print(_once._hub._process.pid)
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BOXHUB_NATS")}
    environment |= {"BOXHUB_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    doubled, value, pid = result.stdout.splitlines()
    assert (doubled, value) == ("8", "{'v': 1}")
    assert not Path(f"/proc/{pid}").exists()
    assert list(tmp_path.iterdir()) == []


def test_kill_9_of_the_script_ends_its_hub(tmp_path: Path) -> None:
    code = """
        import os, signal, box_agent
        box_agent.connect("one")
        from box_agent.discovery import _once
        print(_once._hub._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BOXHUB_NATS")}
    environment |= {"BOXHUB_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    )
    out, _ = process.communicate(timeout=50)  # the pipe is inherited by nobody who stays
    pid = int(out)
    assert process.returncode == -9
    hub = Path(f"/proc/{pid}")
    for _ in range(500):
        if not hub.exists():
            break
        threading_wait(0.02)
    assert not hub.exists()


def threading_wait(seconds: float) -> None:
    """A process that is not our child announces its end to nobody."""
    import threading

    threading.Event().wait(seconds)
