"""The examples and the README's own code run as they are written."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from box_agent.drivers.local.driver import LocalDriver
from tests.e2e.running import ROOT, none_left

EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
SAID = ["one latte, paid with token-of-ada", "login says hello", "login says buy_coffee_success: {'kind': 'latte'}"]
EXPECTED = {
    "01_coffee.py": SAID,
    "02_coffee_async.py": SAID,
    "03_coffee_shop.py": [
        "welcome, ada\ncached: browser, login\none latte for ada\nno tea today",
        "cached: browser, login, shop, all of it, warm",
    ],
    "04_tool_box.py": [
        "'properties': {'path': {'type': 'string'}}, 'required': ['path']",
        "{'lines': 3, 'words': 14}",
        "2:with coffee spoons;",
        "refused: CommandFailed",
    ],
    "05_pip_package.py": ["a well-brewed mocha\nand nothing is installed out here"],
}


async def _run(script: Path, tmp_path: Path) -> str:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        env={**os.environ, "BOXHUB_HOME": str(tmp_path / "home"), "TMPDIR": str(scratch)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, f"{out.decode()}\n{err.decode()}"
    assert not err, err.decode()
    await none_left(scratch)
    assert not list(scratch.iterdir()), "temporary files are left"
    return out.decode()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
async def test_an_example_runs_starts_its_own_hub_and_leaves_nothing(example, tmp_path):
    said = await _run(example, tmp_path)
    for line in EXPECTED[example.name]:
        assert line in said
    if example.name == "03_coffee_shop.py" and await _has_walls(tmp_path):
        assert re.search(r"isolation: namespace; reaches: 127\.0\.0\.1:\d+\n", said)
        assert "the back door: closed" in said


async def _has_walls(tmp_path: Path) -> bool:
    """Whether this machine can do what its boxes are expected to stand behind."""
    driver = LocalDriver(tmp_path / "driver", {})
    try:
        return (await driver.probe()).available
    finally:
        await driver.aclose()


async def test_the_readme_code_runs(tmp_path):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code, "the README shows code"
    script = tmp_path / "readme.py"
    script.write_text(code[0])
    assert "one latte, paid by token-of-ada" in await _run(script, tmp_path)


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), target
