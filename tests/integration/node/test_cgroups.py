"""Groups of version 2 on the real kernel, by whichever controller this machine has there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from box_agent.drivers.local import cgroups, delegation
from schemas.ids import new_id

ROOT = Path(__file__).parents[3]
Delegated = tuple[Path, str]


@pytest.fixture
def delegated() -> Iterator[Delegated]:
    """A group of nobody, and a controller that it may hand on."""
    place = next((mount for kind, _, mount in cgroups._mounts() if kind == "cgroup2"), None)
    if place is None or os.geteuid() != 0 or not os.access(place, os.W_OK):
        pytest.skip("nobody can make groups of version 2 here")
    have = (place / "cgroup.controllers").read_text().split()
    if not have:
        pytest.skip("version 2 has no controllers here")
    controller, switch = have[0], place / "cgroup.subtree_control"
    was = switch.read_text().split()
    group = place / new_id("boxhub-test")
    try:
        if controller not in was:
            switch.write_text(f"+{controller}")
        group.mkdir()
    except OSError as error:
        pytest.skip(f"{place}: {error.strerror}")
    yield group, controller
    for made in (*group.glob("*/"), group):
        _remove(made)
    if controller not in was:
        with suppress(OSError):  # somebody else uses it by now
            switch.write_text(f"-{controller}")


def _remove(group: Path) -> None:
    until = time.monotonic() + 5
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)  # the last process is on its way out


def told(delegated: Delegated) -> dict[str, Any]:
    group, controller = delegated
    command = [sys.executable, "-m", "tests.integration.node.delegated", str(group), controller]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_a_delegated_group_is_made_ready_and_its_boxes_end_with_theirs(delegated: Delegated) -> None:
    group, controller = delegated
    said = told(delegated)
    assert said.pop("again") == [str(group)], "a second driver finds the same"
    assert said == {
        "place": str(group), "enabled": [controller], "inside": [], "entered": True, "limited": True, "killed": 9,
        "left": False,
    }  # fmt: skip


def test_a_group_with_somebody_elses_processes_is_left_alone(delegated: Delegated) -> None:
    group, _ = delegated
    other = subprocess.Popen(["sleep", "60"])
    try:
        (group / "cgroup.procs").write_text(str(other.pid))
        said = told(delegated)
        assert said["enabled"] == []
        assert str(other.pid) in said["inside"]
        assert not (group / delegation.LEAF).exists()
    finally:
        other.kill()
        other.wait()
