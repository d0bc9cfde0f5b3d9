"""The wheel: what is in it, and that it runs from where it was installed."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.servers.requirement import PROJECT, missing

PACKAGES = {"schemas", "context_store", "box_agent", "hub"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy so that nothing is left in the sources."""
    if not (PROJECT / "hub/dashboard/static/index.html").exists():
        missing("the built dashboard", "run `make setup`")
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "examples", "tests"):
        if (PROJECT / name).exists():
            skipped = shutil.ignore_patterns("node_modules", "__pycache__")
            shutil.copytree(PROJECT / name, source / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(PROJECT / name, source)
    output = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", output, source)
    [built] = output.glob("boxhub-*.whl")
    return built


def run(*command: str | Path, **environment: str) -> str:
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_holds_the_packages_and_the_dashboard_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata_file] = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(metadata_file))
    tops = {name.split("/", 1)[0] for name in names if ".dist-info/" not in name}
    assert tops == PACKAGES
    assert "hub/dashboard/static/index.html" in names
    assert not [name for name in names if name.startswith("hub/dashboard/web/") or "node_modules" in name]
    assert metadata["Name"] == "boxhub"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"hub", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    base = {
        requirement.split(">")[0] for requirement in metadata.get_all("Requires-Dist", []) if "extra" not in requirement
    }
    assert base == {"cloudpickle", "msgspec", "nats-py", "pydantic", "pydantic-settings", "structlog"}


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """Installed beside its dependencies, away from the sources; the command comes from the wheel too."""
    target = tmp_path / "installed"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    where = run(
        sys.executable,
        "-P",
        "-c",
        "import schemas, context_store, box_agent, hub.cli; print(hub.cli.__file__, box_agent.__file__)",
        PYTHONPATH=str(target),
    )
    assert all(Path(path).is_relative_to(target) for path in where.split())
    usage = run(sys.executable, "-P", target / "bin" / "boxhub", "--help", PYTHONPATH=str(target))
    assert "up" in usage
    assert "deadletters" in usage
