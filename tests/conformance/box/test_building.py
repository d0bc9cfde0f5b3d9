"""Steps of an environment: where the code of packages and commands runs when it is made, and what of it stays."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from box_agent import Box
from box_agent.drivers.local.driver import LocalDriver
from box_agent.worker import processes
from schemas.errors import LimitExceeded, SkillFailed
from schemas.ids import new_id
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import DRIVERS, VARIABLES, Workbench, ask, opened, usable
from tests.conformance.box.index import Index, sdist, served

HOSTILE = """
import json, os, subprocess, sys
from pathlib import Path

FACTS = json.loads({facts!r})

def environments():
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield path.read_bytes()
        except OSError:
            continue

def linger():
    if FACTS["linger"] and not os.fork():
        os.setsid()
        os.closerange(0, 100)  # pip would wait for what it says
        if not os.fork():
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", FACTS["linger"]])
        os._exit(0)
    return "left"

ATTEMPTS = {{
    "reads a file of the machine": lambda: Path(FACTS["secret"]).read_text(),
    "writes beside it": lambda: Path(FACTS["secret"]).with_name("written").write_text("x"),
    "writes to the home": lambda: Path(FACTS["home"], FACTS["mark"]).write_text("x"),
    "writes where layers are": lambda: Path(FACTS["layers"], FACTS["mark"]).write_text("x"),
    "reads passwords": lambda: Path("/etc/passwd").read_text().index(FACTS["user"] + ":"),
    "has the node's variables": lambda: next(e for e in environments() if FACTS["token"].encode() in e).decode(),
    "sees the node": lambda: os.kill(int(FACTS["pid"]), 0),
    "leaves a process": linger,
}}

def build():
    found = {{}}
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
        except (OSError, StopIteration, ValueError):
            found[name] = False
        else:
            found[name] = True
    return found
"""
SAY = """
import urllib.request
def build():
    urllib.request.urlopen("http://127.0.0.1:{port}/said").read()
    {then}
"""


def found() -> Any:
    import boxhub_built_package as package  # type: ignore[import-not-found]

    return package.FOUND


@pytest.fixture
def index() -> Iterator[Index]:
    with served() as made:
        yield made


@pytest.fixture(params=sorted(DRIVERS))
async def bench(request: pytest.FixtureRequest, tmp_path: Path, index: Index) -> AsyncIterator[Workbench]:
    async with opened(request.param, request, tmp_path, PIP_INDEX_URL=index.url, PIP_NO_CACHE_DIR="1") as made:
        yield made


def walled(bench: Workbench) -> bool:
    return bench.driver.info.isolation != "none"


def layers(folder: Path, kind: str) -> list[Path]:
    return list((folder / "driver" / "environments").glob(f"{kind}-*"))


async def test_what_a_package_does_when_it_is_built_stays_behind_the_wall(
    bench: Workbench, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, linger = new_id("token"), new_id("linger") if walled(bench) else ""
    monkeypatch.setenv("NODE_SECRET", token)
    tmp_path.chmod(0o755)
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    secret = outside / "secret"
    secret.write_text("hunter2")
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    facts = {"secret": str(secret), "home": str(home), "mark": "written", "layers": str(tmp_path / "driver")}
    facts |= {"pid": str(os.getpid()), "token": token, "linger": linger, "user": "daemon"}
    index.add("boxhub_built_package", HOSTILE.format(facts=json.dumps(facts)))
    live = await bench.spawn(Box("built").pip("boxhub_built_package==1.0").skill(found))
    outcomes = await live.call(ask("found"))
    assert outcomes.pop("leaves a process"), "it was started"
    environ = outcomes.pop("has the node's variables")
    assert set(outcomes.values()) == {not walled(bench)}, outcomes
    assert not (walled(bench) and environ)
    if walled(bench):
        assert processes.with_argument(linger) == []
        assert list(outside.iterdir()) == [secret]
        assert list(home.iterdir()) == []


async def test_packages_come_from_directories_of_the_node_too(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    links = tmp_path / "links"
    links.mkdir()
    tmp_path.chmod(0o755)
    (links / "boxhub_built_package-1.0.tar.gz").write_bytes(sdist("boxhub_built_package", "def build(): return 'here'"))
    async with opened("local", request, tmp_path, PIP_FIND_LINKS=str(links), PIP_NO_INDEX="1") as bench:
        live = await bench.spawn(Box("built").pip("boxhub_built_package").skill(found))
        assert await live.call(ask("found")) == "here"


async def test_a_build_that_fails_is_told_with_the_end_of_its_output(
    bench: Workbench, index: Index, tmp_path: Path
) -> None:
    index.add("boxhub_built_package", "def build(): raise RuntimeError('no compiler of that kind')")
    with pytest.raises(SkillFailed, match="no compiler of that kind") as failed:
        await bench.template(Box("built").pip("boxhub_built_package"))
    assert failed.value.details["type"] == "StepFailed"
    assert layers(tmp_path, "pip") == layers(tmp_path, ".partial") == []


async def test_a_build_that_is_cut_off_leaves_nothing_and_is_made_again(
    bench: Workbench, index: Index, tmp_path: Path
) -> None:
    index.add("boxhub_built_package", SAY.format(port=index.port, then="import time; time.sleep(600)"))
    box = Box("built").pip("boxhub_built_package").skill(found)
    building = asyncio.ensure_future(bench.template(box))
    assert await asyncio.to_thread(index.heard.wait, 20)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert layers(tmp_path, "pip") == layers(tmp_path, ".partial") == []
    index.add("boxhub_built_package", "def build(): return 'whole'")
    assert await (await bench.spawn(box)).call(ask("found")) == "whole"


async def test_two_who_need_the_same_packages_at_once_have_them_made_once(bench: Workbench, index: Index) -> None:
    index.add("boxhub_built_package", SAY.format(port=index.port, then="return 'once'"))
    packages = Box("packages").pip("boxhub_built_package").skill(found)
    one, two = await asyncio.gather(*(bench.spawn(packages.env(WHO=who)) for who in "ab"))
    assert [await box.call(ask("found")) for box in (one, two)] == ["once", "once"]
    assert index.said == 1


async def test_two_who_begin_with_the_same_command_at_once_have_it_run_once(bench: Workbench) -> None:
    """Or each would have thrown its own dice."""
    first = Workshop().run("head -c 16 /dev/urandom | od -An -tx1 > dice")
    boxes = await asyncio.gather(*(bench.spawn(first.run(f"echo {who} > who")) for who in "ab"))
    found = [await box.call(ask("listing")) for box in boxes]
    assert found[0]["dice"] == found[1]["dice"]
    assert [one["who"] for one in found] == ["a\n", "b\n"]


@pytest.mark.parametrize("network", [False, True])
async def test_a_command_has_the_network_when_it_says_so(bench: Workbench, index: Index, network: bool) -> None:
    ask_it = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{index.port}/said').status)"
    box = Workshop().run(f'python -c "{ask_it}" > status 2>&1 || true', network=network)
    said = (await (await bench.spawn(box)).call(ask("listing")))["status"]
    assert (said == "200\n") == (network or not walled(bench)), said


async def test_a_command_cannot_lead_later_files_out(bench: Workbench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    box = Workshop().run(f"ln -s {outside} way; ln -s {outside}/b b").files({"way/deep/a": "A", "b": "B"})
    assert await (await bench.spawn(box)).call(ask("listing")) == {"way/deep/a": "A", "b": "B"}
    assert list(outside.iterdir()) == []


async def test_a_command_that_leaves_no_file_is_refused(bench: Workbench, tmp_path: Path) -> None:
    before = layers(tmp_path, "work")
    with pytest.raises(SkillFailed, match="pipe"):
        await bench.template(Workshop().run("mkfifo pipe"))
    assert layers(tmp_path, "work") == before


async def test_a_step_has_a_limit_of_disk(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path / "driver", VARIABLES, build_bytes=4 * 2**20)
    try:
        await usable(driver)
        bench = Workbench(driver, tmp_path)
        with pytest.raises(SkillFailed, match="File size limit"):
            await bench.template(Workshop().run("head -c 8M /dev/zero > large"))
        filling = "i=0; while :; do head -c 1M /dev/zero > $i; i=$((i+1)); sleep 0.01; done"
        with pytest.raises(LimitExceeded) as exceeded:
            await bench.template(Workshop().run(filling))
        assert (exceeded.value.details["limit"], exceeded.value.details["step"]) == ("disk_bytes", filling)
    finally:
        await driver.aclose()
    assert layers(tmp_path, ".partial") == []
