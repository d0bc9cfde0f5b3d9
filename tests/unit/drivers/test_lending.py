"""What of a machine is never lent to a box, whatever its definition says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from box_agent.drivers.local import lending, rootfs
from box_agent.drivers.local.lending import Lending
from schemas.box import Mount
from schemas.errors import InvalidInput, NotFound, PermissionDenied


def lent(lender: Lending, source: Path | str, target: str = "/data") -> dict[str, str]:
    return lender.granted([Mount(source=str(source), target=target)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "inner").mkdir(parents=True)
    (folder / "file").touch()
    return folder


def test_a_directory_is_lent_by_its_own_name(data: Path) -> None:
    (data.parent / "link").symlink_to(data)
    assert lent(Lending(), data.parent / "link") == {"/data": str(data)}
    assert lent(Lending(), data / "inner", "/srv//data") == {"/srv/data": str(data / "inner")}


@pytest.mark.parametrize(
    "source", ["/", "/proc", "/proc/self", "/sys/kernel", "/dev/shm", "/run", "/var/run", "/etc", "/etc/ssl", "/var"]
)
def test_the_system_is_not_lent(source: str) -> None:
    if not Path(source).exists():
        pytest.skip(f"{source} is not there")
    with pytest.raises(PermissionDenied, match="it would show"):
        lent(Lending(), source)


def test_state_and_secrets_of_the_platform_are_not_lent(data: Path) -> None:
    lender = Lending([data / "inner"])
    for source in (data, data / "inner", data.parent):
        with pytest.raises(PermissionDenied, match="state of this platform"):
            lent(lender, source)
    (data / "inner" / "boxes").mkdir()
    (data / "way").symlink_to("inner/boxes")
    with pytest.raises(PermissionDenied, match="state of this platform"):
        lent(lender, data / "way")
    (data / "beside").mkdir()
    assert lent(lender, data / "beside")


def test_of_a_home_what_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    for name in (".ssh", ".config/x", "data"):
        (home / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert lent(Lending(), home / "data") == {"/data": str(home / "data")}
    for source in (home, tmp_path, home / ".ssh", home / ".config" / "x"):
        with pytest.raises(PermissionDenied, match="keys"):
            lent(Lending(), source)


def test_only_what_the_node_lends(data: Path) -> None:
    assert lent(Lending(within=[data.parent]), data)
    with pytest.raises(PermissionDenied, match="BOXHUB_NODE_MOUNTS"):
        lent(Lending(within=[data / "inner"]), data)
    with pytest.raises(PermissionDenied, match="nothing"):
        lent(Lending(within=[]), data)


@pytest.mark.parametrize("kind", ["socket", "pipe"])
def test_what_can_be_spoken_to_is_found(data: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = data / "inner" / "out"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(path.parent)  # a socket's path must be short
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("out")
    with pytest.raises(PermissionDenied, match="inner/out is a socket or a pipe"):
        lent(Lending(), data)


def test_interfaces_of_the_kernel_wherever_they_are(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = data / "file"
    table.write_text(f"36 35 98:0 / {data / 'inner'} rw,noatime - cgroup2 cgroup2 rw\n")
    monkeypatch.setattr(lending, "_MOUNTS", table)
    with pytest.raises(PermissionDenied, match="cgroup2"):
        lent(Lending(), data)


def test_what_is_no_directory(data: Path) -> None:
    with pytest.raises(NotFound):
        lent(Lending(), data / "absent")
    with pytest.raises(InvalidInput, match="no directory"):
        lent(Lending(), data / "file")
    (data / "round").symlink_to("round")
    with pytest.raises(NotFound):
        lent(Lending(), data / "round")


@pytest.mark.parametrize(
    "target", ["/", "/workspace", "/workspace/data", "/usr/share/data", "/tmp/data", "/box", "/lib/x", "/proc/x"]
)  # fmt: skip
def test_places_that_a_box_stands_on_are_taken(data: Path, target: str) -> None:
    with pytest.raises(InvalidInput, match="choose another place"):
        lent(Lending(), data, target)


def test_the_interpreters_place_and_each_others_are_taken(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "readable", lambda: ["/opt/python"])
    for target in ("/opt", "/opt/python/lib"):
        with pytest.raises(InvalidInput, match="/opt/python"):
            lent(Lending(), data, target)
    twice = [Mount(source=str(data), target="/data"), Mount(source=str(data), target="/data/inner")]
    with pytest.raises(InvalidInput, match="/data is there"):
        Lending().granted(twice)
