"""What people are told a box can get at: what its driver really does, not what its definition wishes."""

from __future__ import annotations

import pytest

from box_agent.node.livebox import reaches
from schemas.box import Mount, Policy
from schemas.node import DriverInfo

WALLED = DriverInfo(name="local", isolation="namespace", branching="fs")
OPEN = DriverInfo(name="process", isolation="none", branching="fs")


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Policy(), "no network"),
        (Policy(network="loopback", ports=[9000, 80]), "127.0.0.1:80, 127.0.0.1:9000"),
        (Policy(network="full"), "the machine's network"),
        (Policy(mounts=[Mount(source="/srv/menus", target="/data")]), "no network; reads /srv/menus"),
    ],
)
def test_what_was_granted_is_said(policy: Policy, said: str) -> None:
    assert reaches(policy, WALLED) == said
    assert reaches(policy, OPEN) == "whatever its node can"
