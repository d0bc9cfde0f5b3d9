"""``hub -> (box_agent | context_store) -> schemas``, as pyproject.toml states it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import PROJECT


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=directory, capture_output=True, text=True, timeout=50, check=False
    )


def test_import_contracts_hold() -> None:
    result = lint_imports(PROJECT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_forbidden_import_breaks_the_contract(tmp_path: Path) -> None:
    """The contract bites: the same settings over a tree in which each lower layer reaches up or sideways."""
    (tmp_path / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text())
    forbidden = {"schemas": "import hub", "box_agent": "import context_store", "context_store": "import hub", "hub": ""}
    for package, source in forbidden.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"{source}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    for broken in ("schemas -> hub", "box_agent -> context_store", "context_store -> hub"):
        assert broken in result.stdout.replace("is not allowed to import", "->"), result.stdout
