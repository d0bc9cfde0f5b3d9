"""Directories of the machine, in boxes that were granted them."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import InvalidInput, NotFound, PermissionDenied, SkillFailed
from tests.conformance.box.conftest import Workbench, ask
from tests.conformance.box.outside import Caller, Reader


@pytest.fixture(autouse=True)
def _declared(bench: Workbench) -> None:
    if not bench.driver.info.mounts:
        pytest.skip(f"driver {bench.driver.info.name!r} declares no mounts")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "menu.txt").write_text("latte")
    return folder


async def test_a_granted_directory_is_read_and_not_written(bench: Workbench, data: Path) -> None:
    box = await bench.spawn(Caller().allow(mounts={"/data": str(data), "/srv/other": str(data)}))
    assert await box.call(ask("read", "/data/menu.txt")) == "latte"
    (data / "new.txt").write_text("mocha")
    assert await box.call(ask("read", "/srv/other/new.txt")) == "mocha", "it is the directory, not a copy"
    with pytest.raises(SkillFailed, match="Read-only"):
        await box.call(ask("write", "/data/planted", "x"))
    assert sorted(path.name for path in data.iterdir()) == ["menu.txt", "new.txt"]


async def test_a_template_has_it_too(bench: Workbench, data: Path) -> None:
    box = await bench.spawn(Reader().allow(mounts={"/data": str(data)}))
    assert await box.call(ask("kept")) == "latte"


async def test_a_box_that_was_not_granted_it_has_nothing_there(bench: Workbench, data: Path) -> None:
    granted = await bench.spawn(Caller().allow(mounts={"/data": str(data)}))
    beside = await bench.spawn(Caller)
    assert await granted.call(ask("read", "/data/menu.txt")) == "latte"
    for path in ("/data/menu.txt", str(data / "menu.txt")):
        with pytest.raises(SkillFailed, match="No such file"):
            await beside.call(ask("read", path))


async def test_what_is_refused_is_refused_before_there_is_a_box(bench: Workbench, data: Path) -> None:
    (data / "link").symlink_to("/etc")
    for source, error in (("/etc", PermissionDenied), (str(data / "link"), PermissionDenied), ("/no/such", NotFound)):
        with pytest.raises(error):
            await bench.spawn(Caller().allow(mounts={"/data": source}))
    with pytest.raises(InvalidInput, match="/workspace"):
        await bench.spawn(Caller().allow(mounts={"/workspace/data": str(data)}))
