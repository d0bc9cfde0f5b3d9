"""What was granted is all there is to be had by it, and a hole in each guard makes an attack succeed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from box_agent.drivers.local.driver import LocalDriver
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, usable
from tests.escape.conftest import outcomes
from tests.escape.granted import GRANTED
from tests.escape.hostile import CASES, Hostile

_FORWARDER = "import box_agent.drivers.local.forwarder as forwarder"
_ROOTFS = "import box_agent.drivers.local.rootfs as rootfs"
_LANDING = "import box_agent.drivers.local.landing as landing"

HOLES: dict[str, tuple[str, str]] = {
    "granted ports only": (
        f"{_FORWARDER}; was = forwarder.serve; forwarder.serve = lambda ports, *rest: was([*ports, PORT], *rest)",
        "reach_the_port_beside_it",
    ),
    "one address": (
        f"{_FORWARDER}; forwarder.HOME = '0.0.0.0'",
        "reach_it_by_another_loopback_address",
    ),
    "own network": (
        f"{_LANDING}; landing.namespaces.NETWORK = 0; landing.namespaces.ALL &= ~0x40000000; "
        "landing.namespaces.raise_loopback = lambda: None; landing.lend_network = lambda fd: fd; "
        "landing.have_ports = lambda fd: None",
        "reach_it_by_the_machines_address",
    ),
    "nothing is kept": (
        f"{_LANDING}; landing.os.close = (lambda was, namespaces: lambda fd: None if "
        "landing.os.fstat(fd).st_dev == namespaces else was(fd))"
        "(landing.os.close, landing.os.stat('/proc/self/ns/net').st_dev)",
        "hold_the_network",
    ),
    "granted directories are read-only": (
        f"{_ROOTFS}; rootfs._GRANTED &= ~rootfs.mounts.READ_ONLY",
        "write_into_the_directory",
    ),
    "and without programs": (
        f"{_ROOTFS}; rootfs._GRANTED &= ~rootfs.mounts.NO_PROGRAMS",
        "run_a_program_of_it",
    ),
    "the meeting ends": (
        f"{_LANDING}; landing.have_ports = lambda forwarder: forwarder.recv(9) and forwarder.detach()",
        "hold_the_way_to_the_forwarder",
    ),
}
"""Guard → how it is taken away on the far side, and a case that gets out then."""


@pytest.mark.parametrize("case", sorted([*CASES, *GRANTED]))
def test_it_is_held(held_with_grants: dict[str, str], case: str) -> None:
    assert held_with_grants[case].startswith("held"), held_with_grants[case]


NOT_RECURSIVE = (
    f"{_ROOTFS}; rootfs.mounts.syscall = (lambda was: lambda number, name, *a, **k: "
    "was(number, name, *a[:2], a[2] & ~0x8000, *a[3:], **k) if name == 'mount_setattr' "
    "else was(number, name, *a, **k))(rootfs.mounts.syscall)"
)


@pytest.mark.parametrize(("hole", "outcome"), [("", "held"), (NOT_RECURSIVE, "ESCAPED")], ids=["whole", "with a hole"])
def test_what_is_mounted_in_a_granted_directory_is_read_only_too(hole: str, outcome: str) -> None:
    command = [sys.executable, "-m", "tests.escape.mounted", hole]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    if "Operation not permitted" in run.stderr:
        pytest.skip("nobody can mount anything here")
    assert run.stdout.startswith(outcome), run.stdout + run.stderr


async def test_not_even_the_code_of_a_template_can_write_there(tmp_path: Path) -> None:
    """It may mount things on its own stage; what was granted is locked by the kernel."""

    class Early(Hostile):
        def setup(self) -> None:
            import ctypes

            remounted = ctypes.CDLL(None, use_errno=True).mount(None, b"/data", None, 32 | 4096, None)
            if remounted == 0 or ctypes.get_errno() != 1:
                raise RuntimeError(f"mount gave {remounted}, error {ctypes.get_errno()}")
            try:
                Path("/data/planted").write_text("x")
            except OSError:
                return
            raise RuntimeError("written")

    lent = tmp_path / "lent"
    lent.mkdir()
    lent.chmod(0o777)
    driver = LocalDriver(tmp_path / "driver", VARIABLES)
    try:
        await usable(driver)
        box = await Workbench(driver, tmp_path).spawn(Early().allow(mounts={"/data": str(lent)}))
        assert await box.call(ask("alive"))
    finally:
        await driver.aclose()


@pytest.mark.parametrize("guard", sorted(HOLES))
def test_without_the_guard_it_gets_out(held_with_grants: dict[str, str], guard: str) -> None:
    hole, case = HOLES[guard]
    assert held_with_grants[case].startswith("held")
    found = asyncio.run(outcomes(hole, [case], granted=True))
    assert found[case].startswith("ESCAPED"), f"{found}: nothing here would notice that this guard is gone"
