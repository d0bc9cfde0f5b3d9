"""What a local system keeps in its home: lock, connection, secrets, logs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.local.connection import Connection, read_connection, status, write_connection
from hub.local.home import Home, Secrets
from hub.local.logs import LogFile
from hub.local.nats import choose_port, write_config
from schemas.errors import AlreadyExists, InvalidInput


def connection(pid: int) -> Connection:
    return Connection(pid, "nats://u:p@127.0.0.1:1", "http://127.0.0.1:2", "token", "default", "1", "/home")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_one_system_per_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    with home.held():
        assert home.holder() == os.getpid()
        with pytest.raises(AlreadyExists, match=f"pid {os.getpid()}") as refused:
            home.held().__enter__()
        assert refused.value.details["pid"] == os.getpid()
    assert home.holder() is None
    with home.held():
        assert home.holder() == os.getpid()


def test_a_home_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InvalidInput, match="BOXHUB_HOME"):
        Home(file).held().__enter__()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """And its connection file, which nobody removed, is not believed."""
    script = (
        "import os, sys; from pathlib import Path; from hub.local.home import Home\n"
        "from hub.local.connection import Connection, write_connection\n"
        f"home = Home(Path({str(tmp_path)!r})); home.held().__enter__()\n"
        "write_connection(home, Connection(os.getpid(), 'n', 'g', 't', 'd', '1', 'h'))\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        found = read_connection(tmp_path)
        assert found is not None
        assert found.pid == process.pid
        assert status(tmp_path).running
        process.kill()
    assert (tmp_path / "connection.json").exists()
    assert read_connection(tmp_path) is None
    assert not status(tmp_path).running


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    with home.held():
        kept = Secrets.load_or_make(home.secrets, free_port=4242)
        write_config(home, kept)
        write_connection(home, connection(os.getpid()))
        assert mode(home.directory) == 0o700
        for path in (home.secrets, home.connection, home.nats / "nats-server.conf", home.lock):
            assert mode(path) == 0o600, path


def test_secrets_stay_the_same_from_run_to_run(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = Secrets.load_or_make(path, free_port=4242)
    assert Secrets.load_or_make(path, free_port=1) == first
    path.write_text("{half a fi")
    assert Secrets.load_or_make(path, free_port=1).nats_password != first.nats_password


@pytest.mark.parametrize("text", ["", "{}", "[]", '"x"', "{half", '{"pid": 1}'])
def test_a_damaged_connection_file_is_no_connection(tmp_path: Path, text: str) -> None:
    (tmp_path / "connection.json").write_text(text)
    assert read_connection(tmp_path) is None


def test_no_home_is_no_connection(tmp_path: Path) -> None:
    assert read_connection(tmp_path / "missing") is None
    assert not status(tmp_path / "missing").running


def test_a_log_is_bounded_and_keeps_its_writers(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "x.log", max_bytes=100)
    descriptor = log.open()
    try:
        os.write(descriptor, b"a" * 150 + b"\n")
        assert log.bound()
        assert not log.bound()
        os.write(descriptor, b"one\ntwo\n")
    finally:
        os.close(descriptor)
    assert log.tail(1) == "two"
    assert log.path.read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "logs" / "x.log.1").stat().st_size == 151
    assert mode(log.path) == 0o600


def test_a_log_that_is_not_there_has_no_tail(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log")
    assert log.tail() == ""
    assert not log.bound()


def test_the_port_of_the_last_run_is_taken_again_if_it_is_free() -> None:
    import socket

    port = choose_port()
    assert choose_port(port) == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert choose_port(port) != port
