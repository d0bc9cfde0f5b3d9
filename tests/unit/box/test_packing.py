"""Where a composition is cut into prefixes, and what keeps parts together."""

from __future__ import annotations

import functools
import importlib
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from box_agent import Box, skill
from box_agent.box.program import Program
from schemas.box import MAX_PREFIXES, BoxDefinition, Policy, blobs_of, codes_of

MENU = ["latte"]
PRICE = 3
SHAPE = re.compile("[a-z]+")
REACH = Policy(network="loopback", ports=[8080])


class Order:
    kind = "latte"


def shout(text: str) -> str:
    return text.upper()


def sell() -> str:
    return MENU[0]


def add_to_menu() -> str:
    MENU.append("mocha")
    return MENU[-1]


def raise_price() -> int:
    global PRICE
    PRICE += 1
    return PRICE


def price() -> int:
    return PRICE


def order() -> str:
    return Order.kind


def deliver() -> str:
    return Order().kind


def shout_one() -> str:
    return shout("one")


def shout_two() -> str:
    return shout("two")


def match_one() -> bool:
    return bool(SHAPE.match("one")) and PRICE > 0


def match_two() -> bool:
    return bool(SHAPE.match("two")) and PRICE > 0


def packed(box: Box) -> BoxDefinition:
    return box.pack()[0]


def cuts(box: Box) -> list[list[str]]:
    return [prefix.parts for prefix in packed(box).prefixes]


def test_every_prefix_is_the_box_that_its_parts_are_by_themselves() -> None:
    a = Box("a").files({"a.txt": "a"}).env(A="1").skill(shout_one)
    b = Box("b").run("true").files({"a.txt": "a"}).env(B="1").skill(shout_two)
    c = Box("c").env(C="1").skill(match_one)
    one, two = packed(a + b + c).prefixes
    assert (one.fingerprint, two.fingerprint) == (a.fingerprint, (a + b).fingerprint)
    assert (one.code, two.code) == (packed(a).code, packed(a + b).code), "the code that is there already is not sent"
    assert (one.env, two.env) == ({"A": "1"}, {"A": "1", "B": "1"})
    assert (one.steps, two.steps) == (1, 2), "a step that is there twice is the lower one's"


def test_all_of_it_is_loaded_part_by_part() -> None:
    box = Box("a").skill(shout_one) + Box("b").skill(shout_two)
    definition, blobs = box.pack()
    assert len(codes_of(definition)) == 2
    assert set(codes_of(definition)) <= set(blobs_of(definition)) <= set(blobs)
    program = Program([], {})
    for code in codes_of(definition):
        program.add(Program.unpack(blobs[code]))
    assert [part.name for part in program.parts] == ["a", "b"]
    assert {name: route.part for name, route in program.routes.items() if "--" not in name} == {
        "shout_one": 0, "shout_two": 1,
    }  # fmt: skip


def test_an_equal_part_of_another_name_is_reached_by_the_name_it_has_here() -> None:
    lower = Box("a").skill(shout_one)
    definition, blobs = (lower.named("other") + Box("b").skill(shout_two)).pack()
    alone, its_blobs = lower.pack()
    assert alone.fingerprint == definition.prefixes[0].fingerprint, "so the one may stand on the other's template"
    program = Program.unpack(its_blobs[alone.code])
    program.add(Program.unpack(blobs[definition.code]))
    assert [part.name for part in program.parts] == ["other", "b"]


@pytest.mark.parametrize(
    ("low", "high", "what"),
    [
        (sell, add_to_menu, "the list 'MENU'"),
        (raise_price, price, "the global variable 'PRICE'"),
        (price, raise_price, "the global variable 'PRICE'"),
        (order, deliver, "the class 'Order'"),
    ],
)
def test_what_shares_something_that_can_change_stays_together(low: Any, high: Any, what: str) -> None:
    box = Box("low").skill(low) + Box("between").skill(shout_one) + Box("high").skill(high)
    assert cuts(box) == []
    (why,) = packed(box).together
    assert f"'low' and 'high' both use {what} of the same module" in why
    assert "mocha" not in why and "latte" not in why, "values may be secrets"
    assert cuts(Box("first").skill(shout_two) + box) == [["first"]], "what lies below has no part in it"


@pytest.mark.parametrize(("low", "high"), [(shout_one, shout_two), (match_one, match_two)])
def test_what_never_changes_keeps_nothing_together(low: Any, high: Any) -> None:
    assert cuts(Box("low").skill(low) + Box("high").skill(high)) == [["low"]]


def test_declared_values_keep_nothing_together() -> None:
    class Low(Box, policy=REACH, files={"x.txt": Path(__file__)}):
        @skill
        def low(self) -> int:
            return 1

    class High(Box, policy=REACH, files={"x.txt": Path(__file__)}):
        @skill
        def high(self) -> int:
            return self.low() + 1

    assert cuts(Low() + High()) == [["low"]]


def test_an_ancestor_keeps_its_children_together() -> None:
    class Parent(Box):
        def helper(self) -> int:
            return 1

    class Low(Parent):
        @skill
        def low(self) -> int:
            return 1

    class High(Parent):
        @skill
        def high(self) -> int:
            return 2

    assert cuts(Low() + High()) == []


def test_a_prefix_has_the_reach_of_the_whole_or_is_none() -> None:
    """Nothing is set up behind another wall than the one that it is to run behind."""
    box = Box("data").warm(shout_one) + Box("net").skill(shout_two).allow(network="full")
    assert cuts(box) == []
    assert "not set up by itself" in packed(box).together[0]


def test_a_clash_that_a_higher_part_decides_is_no_prefix() -> None:
    low, middle = Box("low").env(X="1").skill(shout_one), Box("middle").env(X="2").skill(shout_two)
    high = Box("high").env(X="3").skill(match_one)
    box = low.prefer(high) + (middle.prefer(high) + high)
    assert packed(box).env == {"X": "3"}
    assert cuts(box) == [["low"]]
    assert "low + middle are not set up by themselves" in packed(box).together[0]


def test_parts_that_load_nothing_come_with_the_next_that_does() -> None:
    files = Box("files").files({"a.txt": "a"})
    assert cuts(files + Box("a").skill(shout_one) + Box("b").skill(shout_two)) == [["files", "a"]]
    definition = packed(Box("a").skill(shout_one) + files)
    assert ([prefix.parts for prefix in definition.prefixes], definition.code) == ([["a"]], "")


def test_there_are_only_so_many() -> None:
    whole = Box("part-0").warm(shout_one)
    for n in range(1, MAX_PREFIXES + 5):
        whole = whole + Box(f"part-{n}").warm(functools.partial(shout, str(n)))
    assert len(packed(whole).prefixes) == MAX_PREFIXES


class Watched(types.ModuleType):
    """Of no interest to any Box: whoever looks at it is counted."""

    looked = 0

    def __getattribute__(self, name: str) -> Any:
        type(self).looked += 1
        return super().__getattribute__(name)


def test_packing_looks_at_no_module_but_those_that_it_comes_upon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took milliseconds for each Box in a process that had imported thousands of them."""
    monkeypatch.setitem(sys.modules, "boxhub_watched", Watched("boxhub_watched"))
    box = Box("one").skill(shout_one)
    Watched.looked = 0
    definition, blobs = box.pack()
    assert Watched.looked == 0
    assert b"upper" in blobs[definition.code], "the module of this test travels"


def test_modules_below_a_directory_that_is_no_package_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "boxhub_directory"
    folder.mkdir()
    (folder / "menu.py").write_text("def first(): return 'from the menu'\n")
    (folder / "shop.py").write_text("from boxhub_directory.menu import first\ndef sell(): return first()\n")
    monkeypatch.syspath_prepend(tmp_path)
    shop = importlib.import_module("boxhub_directory.shop")
    definition, blobs = Box("shop").skill(shop.sell).pack()
    for name in [name for name in sys.modules if name.startswith("boxhub_directory")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.undo()
    sold = Program.unpack(blobs[definition.code]).parts[0].function("sell")
    assert sold() == "from the menu"
