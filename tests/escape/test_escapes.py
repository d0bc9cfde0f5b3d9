"""Hostile skills that must all fail, and a hole in each guard that must make one of them succeed."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from box_agent.drivers.local.driver import LocalDriver
from tests.conformance.box.conftest import VARIABLES, ask
from tests.escape.conftest import hostile, outcomes, outside
from tests.escape.hostile import CASES
from tests.ordinary_user import pytest_as_user

_ROOTFS = "import box_agent.drivers.local.rootfs as rootfs"
_LANDING = "import box_agent.drivers.local.landing as landing"
_BOTH = f"{_LANDING}; import box_agent.drivers.local.stage as stage"
_SECCOMP = "import box_agent.drivers.local.seccomp as seccomp"
_TEMPLATE = "import box_agent.drivers.local.template as template"

HOLES: dict[str, tuple[str, str]] = {
    "files": (
        f"{_ROOTFS}; was = rootfs.readable; rootfs.readable = lambda: [*was(), 'OUTSIDE']",
        "read_a_file_of_the_node",
    ),
    "read-only": (
        f"{_ROOTFS}; rootfs._SHARED = 0",
        "write_to_the_environment",
    ),
    "network": (
        f"{_BOTH}; landing.namespaces.NETWORK = 0; landing.namespaces.ALL &= ~0x40000000; "
        "landing.namespaces.raise_loopback = lambda: None",
        "reach_an_abstract_socket",
    ),
    "ipc": (
        f"{_LANDING}; landing.namespaces.IPC = 0; landing.namespaces.ALL &= ~0x08000000",
        "share_memory_with_the_node",
    ),
    "filter": (
        f"{_BOTH}; stage.seccomp.Filter.install = lambda self: None",
        "use_keyrings",
    ),
    "filter of a box": (
        f"{_BOTH}; landing._FILTER = stage._FILTER",
        "be_root_in_a_new_world",
    ),
    "families": (
        f"{_SECCOMP}; seccomp._CONDITIONS['socket'] = []",
        "talk_to_the_kernel",
    ),
    "set-id": (
        f"{_SECCOMP}; [seccomp._CONDITIONS.pop(name) for name in ('chmod', 'fchmodat')]",
        "make_a_setuid_file",
    ),
    "capabilities": (
        f"{_LANDING}; landing.privileges.drop_capabilities = lambda: None",
        "have_capabilities",
    ),
    "no_new_privs": (
        f"{_BOTH}; landing.privileges.gain_nothing_by_exec = lambda: None; "
        "landing.seccomp.Filter.install = lambda self: None",
        "gain_by_exec",
    ),
    "keeper": (
        f"{_TEMPLATE}; was = template.privileges.open_to_inspection; "
        "template.privileges.open_to_inspection = lambda yes: was(True)",
        "look_into_the_keeper",
    ),
    "keeper's power": (
        f"{_LANDING}; landing.follow = lambda worker, network: None",
        "find_the_keeper_in_power",
    ),
    "masks": (
        f"{_LANDING}; landing._MASKED = ()",
        "read_kernel_symbols",
    ),
}
"""Guard → how it is taken away on the far side, and a case that gets out then."""


@pytest.mark.parametrize("case", sorted(CASES))
def test_it_is_held(held: dict[str, str], case: str) -> None:
    assert held[case].startswith("held"), held[case]


@pytest.mark.parametrize("guard", sorted(HOLES))
def test_without_the_guard_it_gets_out(held: dict[str, str], guard: str) -> None:
    hole, case = HOLES[guard]
    assert held[case].startswith("held")
    found = asyncio.run(outcomes(hole, [case]))
    assert found[case].startswith("ESCAPED"), f"{found}: nothing here would notice that this guard is gone"


async def test_nobody_speaks_as_someone_else(tmp_path: Path) -> None:
    with outside() as facts:
        async with hostile(LocalDriver(tmp_path / "driver", VARIABLES), tmp_path, facts) as (bench, box):
            other = dict.fromkeys(("box", "from", "sender", "source"), bench.spawned[0])
            arguments = {"to": "x", "data": 1, **other}
            frame = {"t": "request", "n": 7, "call": "c", "verb": "send_message", "arguments": arguments, **other}
            await box.call(ask("forge", json.dumps(frame)))
            await box.call(ask("say", "x"))
            assert len(bench.heard.requests) == 2
            assert {request[0] for request in bench.heard.requests} == {box.id}


async def test_setup_stands_behind_the_wall_too(tmp_path: Path) -> None:
    """A Box's code is nobody's friend before its first spawn either."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    tmp_path.chmod(0o755)
    path, pid = str(secret), os.getpid()

    from tests.escape.hostile import Hostile

    class Early(Hostile):
        def setup(self) -> None:
            import os
            import socket

            found: list[str] = []
            for place in (path, "/etc/shadow", "/proc/1/root" + path):
                if os.path.exists(place):  # noqa: PTH110
                    found.append(place)
            try:
                socket.create_connection(("192.0.2.1", 9), 0.5)
            except OSError as error:
                found += [] if error.errno == 101 else [f"network: {error}"]
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                pass
            else:
                found.append("a process of the node")
            if found:
                raise RuntimeError(f"setup saw {found}")

    with outside() as facts:
        async with hostile(LocalDriver(tmp_path / "driver", VARIABLES), tmp_path, facts) as (bench, _):
            box = await bench.spawn(Early)
            assert await box.call(ask("alive"))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(os.geteuid() != 0, reason="this run is an ordinary user's already")
def test_the_same_holds_for_an_ordinary_users_node() -> None:
    run = pytest_as_user([str(Path(__file__).parent)], "-k", "not ordinary_user")
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    if " passed" not in run.stdout:
        pytest.skip(run.stdout[-500:])
