"""Composed Boxes: a template for each prefix, each a fork of the one below it, and what they know of each other."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest

from box_agent import Box, skill
from box_agent.driver import Driver, Handle
from schemas.box import MAX_PREFIXES
from schemas.errors import SkillFailed, SkillNotFound
from tests.conformance.box.boxes import Threaded
from tests.conformance.box.conftest import Workbench, ask
from tests.conformance.box.test_templates import wheel

pytestmark = pytest.mark.forked


class Low(Box, files={"low.txt": "low"}, env={"LOW": "1"}):
    """Every set-up throws other dice, so it shows where it ran."""

    def setup(self) -> None:
        self.dice = uuid.uuid4().hex
        self.seen = look()
        self.made = tempfile.mkdtemp()
        os.environ["BY_SETUP"] = self.dice

    @skill
    def low(self) -> dict[str, Any]:
        files = sorted(p.name for p in Path(tempfile.gettempdir()).iterdir() if p.name != "box_agent")
        return {
            "dice": self.dice,
            "seen": self.seen,
            "now": look(),
            "environment": os.environ["BY_SETUP"],
            "tmp": files,
        }


class Middle(Box, files={"middle.txt": "middle"}, env={"MIDDLE": "1"}):
    def setup(self) -> None:
        self.dice = uuid.uuid4().hex
        self.seen = look()
        self.made = tempfile.mkdtemp()

    @skill
    def middle(self) -> dict[str, Any]:
        return {"dice": self.dice, "seen": self.seen, "low": self.low()["dice"]}


class High(Box, files={"high.txt": "high"}, env={"HIGH": "1"}):
    def setup(self) -> None:
        self.dice = uuid.uuid4().hex
        self.seen = look()

    @skill
    def high(self) -> dict[str, Any]:
        return {"dice": self.dice, "seen": self.seen, "middle": self.middle()["dice"], "low": self.low()["dice"]}


def look() -> list[str]:
    """Which files and variables of the three there are."""
    files = [p.name for p in Path().iterdir() if p.suffix == ".txt"]
    return sorted(files + [name for name in ("LOW", "MIDDLE", "HIGH") if name in os.environ])


def tree(driver: Driver) -> dict[str, str]:
    """Fingerprint of each template → of the one that it was forked from."""
    return {template.fingerprint: template.prefix for template in driver.templates}


async def test_what_is_new_is_set_up_and_nothing_else(bench: Workbench) -> None:
    low, both, all_three = Low(), Low() + Middle(), Low() + Middle() + High()
    one = await (await bench.spawn(low)).call(ask("low"))
    two = await (await bench.spawn(both)).call(ask("middle"))
    three = await (await bench.spawn(all_three)).call(ask("high"))
    assert three["low"] == two["low"] == one["dice"]
    assert three["middle"] == two["dice"]
    assert tree(bench.driver) == {
        low.fingerprint: "", both.fingerprint: low.fingerprint, all_three.fingerprint: both.fingerprint,
    }  # fmt: skip


async def test_one_that_is_cold_leaves_all_its_prefixes_warm(bench: Workbench) -> None:
    three = await (await bench.spawn(Low() + Middle() + High())).call(ask("high"))
    assert len(tree(bench.driver)) == 3
    two = await (await bench.spawn(Low() + Middle())).call(ask("middle"))
    one = await (await bench.spawn(Low())).call(ask("low"))
    assert (two["dice"], two["low"], one["dice"]) == (three["middle"], three["low"], three["low"])
    other = await (await bench.spawn(Low() + Middle() + Box("other").env(HIGH="2"))).call(ask("middle"))
    assert (other["dice"], other["low"]) == (three["middle"], three["low"])
    assert len(tree(bench.driver)) == 4


async def test_a_setup_sees_what_lies_below_it(bench: Workbench) -> None:
    live = await bench.spawn(Low() + Middle() + High())
    low, middle, high = [await live.call(ask(name)) for name in ("low", "middle", "high")]
    assert low["seen"] == ["LOW", "low.txt"]
    assert middle["seen"] == ["LOW", "MIDDLE", "low.txt", "middle.txt"]
    assert high["seen"] == low["now"] == ["HIGH", "LOW", "MIDDLE", "high.txt", "low.txt", "middle.txt"]
    assert low["environment"] == low["dice"], "what a setup does to its environment lasts"


async def test_a_prefix_knows_nothing_of_what_stands_on_it(bench: Workbench, tmp_path: Path) -> None:
    def imported() -> str:
        import boxhub_upper_package as package  # type: ignore[import-not-found]

        return str(package.TEXT)

    def imported_too() -> str:
        import boxhub_upper_package as package

        return str(package.TEXT)

    upper = Box("upper").pip(wheel(tmp_path, "boxhub_upper_package", "of the upper")).skill(imported)
    low = Low().skill(imported_too)
    both = await bench.spawn(low + Middle() + upper)
    assert await both.call(ask("imported")) == await both.call(ask("imported_too")) == "of the upper"
    alone = await bench.spawn(low)
    with pytest.raises(SkillFailed, match="ModuleNotFoundError"):
        await alone.call(ask("imported_too"))
    with pytest.raises(SkillNotFound):
        await alone.call(ask("middle"))
    found = await alone.call(ask("low"))
    assert found["now"] == ["LOW", "low.txt"]
    assert found["dice"] == (await both.call(ask("low")))["dice"]
    if bench.driver.info.isolation != "none":
        assert len(found["tmp"]) == 1, "the set-up above it left something in a /tmp of its own"
        assert len((await both.call(ask("low")))["tmp"]) == 2


async def test_packages_of_every_layer_are_there(bench: Workbench, tmp_path: Path) -> None:
    def first() -> str:
        import boxhub_first_package as package  # type: ignore[import-not-found]

        return str(package.TEXT)

    def second() -> list[str]:
        import boxhub_first_package as one
        import boxhub_second_package as two  # type: ignore[import-not-found]

        return [one.TEXT, two.TEXT]

    low = Box("one").pip(wheel(tmp_path, "boxhub_first_package", "1")).warm(first).skill(first)
    live = await bench.spawn(low + Box("two").pip(wheel(tmp_path, "boxhub_second_package", "2")).skill(second))
    assert await live.call(ask("second")) == ["1", "2"]
    assert len(tree(bench.driver)) == 2


async def test_a_package_that_is_imported_already_is_not_another_one_above(bench: Workbench, tmp_path: Path) -> None:
    def early() -> str:
        import boxhub_twice_package as package  # type: ignore[import-not-found]

        return str(package.TEXT)

    def late() -> str:
        import boxhub_twice_package as package

        return str(package.TEXT)

    (tmp_path / "old").mkdir()
    low = Box("one").pip(wheel(tmp_path / "old", "boxhub_twice_package", "old")).warm(early).skill(early)
    high = Box("two").pip(wheel(tmp_path, "boxhub_twice_package", "new")).skill(late)
    _, template = await bench.template(low + high)
    assert "set up together: 'boxhub_twice_package' was imported already" in template.notes[0]
    live = await bench.spawn(low + high)
    assert await live.call(ask("early")) == await live.call(ask("late")) == "new", "the higher layer's wins"
    assert await (await bench.spawn(low)).call(ask("early")) == "old"


async def test_a_file_that_is_imported_already_is_not_another_one_above(bench: Workbench) -> None:
    def which() -> str:
        import boxhub_own_module as module  # type: ignore[import-not-found]

        return str(module.NAME)

    low = Box("one").files({"boxhub_own_module.py": "NAME = 'old'"}).warm(which).skill(which)
    same = await bench.spawn(low + Box("two").files({"more.txt": "more"}).env(TWO="2"))
    assert await same.call(ask("which")) == "old"
    assert len(tree(bench.driver)) == 2
    other = low + Box("two").files({"boxhub_own_module.py": "NAME = 'new'"}).env(TWO="2")
    _, template = await bench.template(other)
    assert template.prefix == ""
    assert "boxhub_own_module.py is not the file" in template.notes[0]
    assert await (await bench.spawn(other)).call(ask("which")) == "new"


def watching() -> Any:
    import threading

    threading.Thread(target=threading.Event().wait, daemon=True, name="watcher").start()


def listening(self: Any) -> None:
    self.sock = socket.socket()
    self.sock.bind(("127.0.0.1", 0))


def sharing(self: Any) -> None:
    self.memory = mmap.mmap(-1, 4096)


def native(self: Any) -> None:
    libc = ctypes.CDLL(None)
    self.thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(self.thread), None, libc.pause, None) == 0


def breeding(self: Any) -> None:
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "600"])


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (watching, "threads running: watcher"),
        (listening, "leaves open: socket:"),
        (sharing, "memory that all forks would share"),
        (native, "1 threads of a library"),
        (breeding, "leaves processes running"),
    ],
)
async def test_what_a_fork_does_not_carry_over_is_set_up_in_every_box_and_all_above_it(
    bench: Workbench, setup: Any, words: str
) -> None:
    def ran(self) -> str:
        return str(self.dice)

    def roll(self: Any) -> None:
        self.dice = uuid.uuid4().hex

    middle = Box("unclean").warm(roll).warm(setup).skill(ran)
    box = Low() + middle + High()
    _, template = await bench.template(box)
    assert [words in note and "runs again in every box" in note for note in template.notes] == [True]
    one, two = await bench.spawn(box), await bench.spawn(box)
    assert await one.call(ask("ran")) != await two.call(ask("ran"))
    first, second = [(await live.call(ask("low")))["dice"] for live in (one, two)]
    assert first == second, "what lies below it is as warm as ever"
    clean = await bench.spawn(Low())
    assert (await clean.call(ask("low")))["dice"] == first


async def test_an_import_that_leaves_a_thread_happens_in_every_box(bench: Workbench) -> None:
    def threads() -> list[str]:
        import threading

        import boxhub_restless_module  # type: ignore[import-not-found]

        return sorted(t.name for t in threading.enumerate() if t.name in boxhub_restless_module.NAMES)

    start = "threading.Thread(target=threading.Event().wait, daemon=True, name='restless').start()"
    module = f"import threading; NAMES = ['restless']; {start}"

    def setup() -> None:
        import boxhub_restless_module  # noqa: F401

    box = Low() + Box("restless").files({"boxhub_restless_module.py": module}).warm(setup).skill(threads)
    _, template = await bench.template(box)
    assert "restless" in template.notes[0]
    for _ in range(2):
        assert await (await bench.spawn(box)).call(ask("threads")) == ["restless"]


async def test_a_part_that_fails_leaves_those_below_it_warm(bench: Workbench) -> None:
    def fail() -> None:
        raise RuntimeError("no luck")

    with pytest.raises(SkillFailed, match="no luck") as failed:
        await bench.template(Low() + Box("broken").warm(fail))
    assert "broken" in failed.value.details["box"]
    assert list(tree(bench.driver)) == [Low().fingerprint]


async def test_one_that_is_removed_takes_along_what_stands_on_it_and_no_box(bench: Workbench) -> None:
    box = Low() + Middle() + High()
    live = await bench.spawn(box)
    before = await live.call(ask("high"))
    assert await bench.driver.remove_template((Low() + Middle()).fingerprint)
    assert list(tree(bench.driver)) == [Low().fingerprint]
    assert await live.call(ask("high")) == before
    again = await (await bench.spawn(box)).call(ask("high"))
    assert (again["low"], again["middle"] != before["middle"]) == (before["low"], True)


async def test_warmth_says_what_is_warm_on_what_and_why_not(bench: Workbench) -> None:
    definition, _ = (Low() + Middle() + High()).pack()
    cold = bench.driver.warmth(definition)
    assert [(s.parts, s.warm, s.why) for s in cold] == [
        (["low"], False, "it was not made here yet"),
        (["low", "middle"], False, "it was not made here yet"),
        (["low", "middle", "high"], False, "it was not made here yet"),
    ]
    await bench.template(Low() + Middle())
    low, middle, high = bench.driver.warmth(definition)
    assert (low.warm, middle.warm, high.warm) == (True, True, False)
    assert (low.prefix, middle.prefix) == ("", low.fingerprint)
    assert 0 < middle.memory_bytes < 2**26 and middle.used_at > 0
    assert [(s.fingerprint, s.prefix) for s in bench.driver.warmth()] == [
        (low.fingerprint, ""), (middle.fingerprint, low.fingerprint),
    ]  # fmt: skip
    await bench.driver.remove_template(low.fingerprint)
    assert [s.why for s in bench.driver.warmth(definition)] == [
        "it was removed", "it was removed with what it stands on", "it was not made here yet",
    ]  # fmt: skip
    assert bench.driver.warmth() == []


async def test_there_may_be_more_parts_than_prefixes(bench: Workbench) -> None:
    def part(n: int) -> Box:
        def setup(self: Any) -> None:
            self.number = n

        def number(self) -> int:
            return int(self.number)

        return Box(f"part-{n}").warm(setup).skill(number).rename(number=f"number_{n}")

    whole = part(0)
    for n in range(1, MAX_PREFIXES + 3):
        whole = whole + part(n)
    live = await bench.spawn(whole)
    assert [await live.call(ask(f"number_{n}")) for n in range(MAX_PREFIXES + 3)] == list(range(MAX_PREFIXES + 3))
    assert len(tree(bench.driver)) == MAX_PREFIXES + 1


async def test_threads_of_a_prefix_are_there_in_a_box_on_it(bench: Workbench) -> None:
    live: Handle = await bench.spawn(Threaded() + Low())
    assert "watcher" in await live.call(ask("threads"))
    assert (await live.call(ask("low")))["seen"]
