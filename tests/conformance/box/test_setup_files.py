"""Files that `setup` writes: where it may, who sees them, and what is said where it may not."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from box_agent import Box, skill
from schemas.errors import LimitExceeded, SkillFailed
from tests.conformance.box.conftest import Workbench, ask, opened


class Keeps(Box):
    """Leaves files where files may be left."""

    def setup(self) -> None:
        self.places = [str(Path.home() / "kept" / "a"), f"{tempfile.gettempdir()}/a", "/dev/shm/a"]
        for place in map(Path, self.places):
            place.parent.mkdir(exist_ok=True)
            place.write_text("by setup")

    @skill
    def read(self) -> set[str]:
        return {Path(place).read_text() for place in self.places}

    @skill
    def write(self, text: str) -> None:
        for place in self.places:
            Path(place).write_text(text)


class Above(Box):
    """Stands on what the part below it left."""

    def setup(self) -> None:
        (Path.home() / "kept" / "a").write_text("by the upper setup")

    @skill
    def at_home(self) -> str:
        return (Path.home() / "kept" / "a").read_text()


class Careless(Box, files={"data.txt": "mine"}):
    def setup(self) -> None:
        Path("made.txt").write_text("x")

    @skill
    def never(self) -> None: ...


class Wasteful(Box):
    def setup(self) -> None:
        (Path.home() / "folder").mkdir()
        (Path.home() / "folder" / "large").write_bytes(bytes(2**21))

    @skill
    def never(self) -> None: ...


@pytest.fixture
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workbench]:
    """Of the driver with a wall: elsewhere these places are the node's own."""
    async with opened("local", request, tmp_path) as made:
        yield made


async def test_every_box_begins_with_what_setup_left_and_has_it_for_itself(bench: Workbench) -> None:
    one, two = await bench.spawn(Keeps), await bench.spawn(Keeps)
    await one.call(ask("write", "changed"))
    assert await one.call(ask("read")) == ["changed"]
    assert await two.call(ask("read")) == ["by setup"]
    assert await (await bench.spawn(Keeps)).call(ask("read")) == ["by setup"]


async def test_a_box_on_top_begins_with_it_too_and_changes_nothing_below(bench: Workbench) -> None:
    both = await bench.spawn(Keeps() + Above())
    assert await both.call(ask("at_home")) == "by the upper setup"
    assert await (await bench.spawn(Keeps)).call(ask("read")) == ["by setup"]


async def test_its_own_directory_is_a_layer_that_others_stand_on(bench: Workbench) -> None:
    with pytest.raises(SkillFailed, match=r"let it write to its home") as failed:
        await bench.template(Careless)
    assert (failed.value.details["type"], failed.value.details["path"]) == ("ReadOnly", "made.txt")


async def test_what_it_left_counts_against_the_box_that_has_it(bench: Workbench) -> None:
    with pytest.raises(LimitExceeded, match=r"setup\(\) left more") as exceeded:
        await bench.spawn(Wasteful().limit(disk_bytes=2**20))
    assert exceeded.value.details["limit"] == "disk_bytes"
