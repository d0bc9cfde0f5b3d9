"""What of the machine a Box may read, decided without mounting anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from box_agent.drivers.local import rootfs
from box_agent.drivers.local.driver import LocalDriver
from box_agent.drivers.local.identity import box_identity


def test_of_a_directory_of_sources_only_what_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("package/__init__.py", "package/data.txt", "module.py", ".env", "notes.txt", "folder/file.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    found = {path for path in rootfs.readable() if path.startswith(str(tmp_path))}
    assert found == {str(tmp_path / "package"), str(tmp_path / "module.py")}


def test_the_interpreter_is_there_and_no_home_is() -> None:
    found = [Path(path) for path in rootfs.readable()]
    for needed in (sys.prefix, sys.base_prefix):
        assert any(Path(needed).is_relative_to(path) for path in (*found, Path("/usr")))
    assert not any(Path.home().is_relative_to(path) for path in found)
    assert not any(one != other and one.is_relative_to(other) for one in found for other in found)


def test_what_private_directories_cover_is_known() -> None:
    assert rootfs.hidden(["/tmp/python", "/usr/lib", "/box/home/x"]) == ["/tmp/python", "/box/home/x"]


def test_an_interpreter_in_the_way_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from box_agent.drivers.local.trial import before_trying

    monkeypatch.setattr(rootfs, "readable", lambda: ["/workspace/.venv"])
    assert "/workspace/.venv" in before_trying()


async def test_a_machine_where_it_does_not_work_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hole = (
        "import box_agent.drivers.local.namespaces as namespaces\n"
        "def refuse(which): raise PermissionError(1, 'not here')\n"
        "namespaces.unshare = refuse"
    )
    broken = type("Broken", (LocalDriver,), {"boot": f"exec({hole!r}); {LocalDriver.boot}"})
    driver = broken(tmp_path / "driver", {})
    try:
        info = await driver.probe()
    finally:
        await driver.aclose()
    assert not info.available
    assert "not here" in info.reason
    assert "Docker" in info.reason or "set " in info.reason


def test_boxes_of_root_are_nobody_else() -> None:
    import os

    assert (box_identity() == 0) == (os.geteuid() != 0)
