"""What is written to groups of either version, and what is read from them, as text."""

from __future__ import annotations

import pytest

from box_agent.drivers.local import cgroups
from schemas.box import Resources


def test_the_same_limits_in_both_versions() -> None:
    wanted = cgroups._settings(Resources(memory_bytes=2**20, pids=10, cpus=0.5))
    assert {controller: files[2] for controller, files in wanted.items()} == {
        "memory": {"memory.max": "1048576", "memory.swap.max": "0", "memory.oom.group": "1"},
        "pids": {"pids.max": "74"},
        "cpu": {"cpu.max": "50000 100000"},
    }
    assert {controller: files[1] for controller, files in wanted.items()} == {
        "memory": {"memory.limit_in_bytes": "1048576", "memory.oom_control": "1"},
        "pids": {"pids.max": "74"},
        "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"},
    }
    assert cgroups._settings(Resources()) == {}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n", True),
        ("low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n", False),
        ("oom_kill_disable 1\nunder_oom 1\noom_kill 0\n", True),
        ("oom_kill_disable 1\nunder_oom 0\noom_kill 0\n", False),
    ],
)
def test_running_out_of_memory_is_seen_in_either(text: str, met: bool) -> None:
    assert cgroups._out_of_memory(text) is met
