"""Fingerprints: equal for equal Boxes, in every process and place; different for every difference that matters."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from box_agent.box.box import Box
from box_agent.box.identity import code_identity
from box_agent.box.skill import skill
from schemas.box import PipStep, Policy, Resources, RunStep
from schemas.errors import InvalidInput

ROOT = Path(__file__).parents[3]
names = st.from_regex(r"[a-z][a-z]{2,7}", fullmatch=True).filter(lambda n: n not in {"env", "run", "pack", "name"})
words = st.text("abc xyz-", min_size=1, max_size=8)
NUMBERS = (1, 2, 3)


def _method(name: str, body: int, streams: bool) -> Callable[..., Any]:
    """A function as a module's author writes it, from source; every name and body another code object."""
    verb = "yield" if streams else "return"
    source = f"def {name}(self, n: int = {body}) -> object:\n    {verb} [n * {body}, helper(n), {{1, 2, {body}}}]\n"
    module: dict[str, Any] = {"__name__": "__main__", "helper": functools.partial(max, 7)}
    exec(source, module)
    found: Callable[..., Any] = module[name]
    return found


@st.composite
def both_styles(draw: st.DrawFn) -> tuple[Box, Box]:
    """The same Box, said twice."""
    skills = draw(st.dictionaries(names, st.tuples(st.integers(0, 9), st.booleans()), max_size=3))
    files = draw(st.dictionaries(names.map(lambda n: f"{n}.txt"), words, max_size=2))
    packages = draw(st.lists(names.map(lambda n: f"{n}==1.0"), max_size=2, unique=True))
    commands = draw(st.lists(words.map(lambda w: f"echo {w}"), max_size=2))
    env = draw(st.dictionaries(names.map(str.upper), words, max_size=2))
    secrets = draw(st.lists(names, max_size=2, unique=True))
    limits = draw(st.fixed_dictionaries({}, optional={"cpus": st.floats(0.1, 4), "pids": st.integers(1, 99)}))
    warms = draw(st.booleans())

    mark = skill(timeout_s=5.0 if draw(st.booleans()) else None)
    functions = {name: mark(_method(name, *how)) for name, how in skills.items()}
    body = {**functions, **({"setup": _method("setup", 1, False)} if warms else {})}
    cls = types.new_class(
        "Sample",
        (Box,),
        {
            "files": files,
            "packages": packages,
            "commands": commands,
            "env": env,
            "resources": Resources(**limits),
            "policy": Policy(secrets=sorted(secrets)),
        },
        lambda namespace: namespace.update(body),
    )
    box = Box("sample")
    for build in draw(st.permutations(["env", "secrets", "limits", "skills", "warm", "steps"])):
        match build:
            case "env":
                box = box.env(**env)
            case "secrets":
                box = box.allow(secrets=secrets)
            case "limits":
                box = box.limit(**limits)
            case "warm":
                box = box.warm(_method("setup", 1, False)) if warms else box
            case "skills":
                for name in draw(st.permutations(sorted(skills))):
                    box = box.skill(mark(_method(name, *skills[name])))
            case "steps":
                box = box.files(files) if files else box
                box = box.pip(*packages) if packages else box
                for command in commands:
                    box = box.run(command)
    return cls(), box


@settings(max_examples=50)
@given(both_styles())
def test_class_style_and_value_style_are_the_same_value(both: tuple[Box, Box]) -> None:
    by_class, by_value = both
    assert by_class == by_value
    assert hash(by_class) == hash(by_value)
    assert by_class.schema() == by_value.schema()
    one, other = by_class.pack()[0], by_value.pack()[0]
    assert one.model_copy(update={"code": ""}) == other.model_copy(update={"code": ""})


@settings(max_examples=25)
@given(both_styles(), both_styles())
def test_different_definitions_have_different_fingerprints(a: tuple[Box, Box], b: tuple[Box, Box]) -> None:
    one, other = (box.pack()[0].model_copy(update={"code": "", "fingerprint": ""}) for box in (a[0], b[1]))
    if one != other:
        assert a[0] != b[1]


def test_a_class_with_more_than_skills_is_told_apart_by_it() -> None:
    class Plain(Box):
        @skill
        def size(self) -> int:
            return 3

    class Constant(Plain):
        CUP = 3

    class Helped(Plain):
        def helper(self) -> int:
            return 3

    class Other(Plain):
        CUP = 4

    class Renamed(Plain):
        """Says it is another, and is the same."""

    assert len({box.fingerprint for box in (Plain(), Constant(), Helped(), Other())}) == 4
    assert Renamed() == Plain()


def test_super_brings_in_what_it_reaches() -> None:
    def make(price: int) -> Box:
        class Base(Box):
            @skill
            def buy(self) -> int:
                return price

        class Child(Base):
            @skill
            def buy(self) -> int:
                return super().buy() + 1

        return Child()

    assert make(1) == make(1)
    assert make(1) != make(2)


def _with_global(value: Any) -> str:
    module: dict[str, Any] = {"__name__": "__main__", "TABLE": value}
    exec("def look(key: str) -> object:\n    return TABLE[key]\n", module)
    return Box("x").skill(module["look"]).fingerprint


class _Menu:
    def __init__(self, **prices: int) -> None:
        self.prices = prices


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"latte": 3}, {"latte": 4}),
        ([1, [2]], [1, [3]]),
        ({1, 2}, {1, 3}),
        (_Menu(latte=3), _Menu(latte=4)),
        (Path("a"), Path("b")),
        (bytearray(b"a"), bytearray(b"b")),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (lambda: 1, lambda: 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_skill_reads_of_its_module_counts(one: Any, other: Any) -> None:
    assert _with_global(one) == _with_global(one)
    assert _with_global(one) != _with_global(other)


def test_a_decorator_that_changes_what_happens_counts() -> None:
    def times(n: int) -> Callable[[Callable[[], int]], Callable[[], int]]:
        def wrap(fn: Callable[[], int]) -> Callable[[], int]:
            @functools.wraps(fn)
            def inner() -> int:
                return fn() * n

            return inner

        return wrap

    def one() -> int:
        return 1

    assert Box("x").skill(times(2)(one)) == Box("x").skill(times(2)(one))
    assert Box("x").skill(times(2)(one)) != Box("x").skill(times(3)(one))


def test_a_skill_may_know_its_own_box() -> None:
    module: dict[str, Any] = {"__name__": "__main__", "Box": Box, "skill": skill}
    exec("class A(Box):\n    @skill\n    def f(self): return box.name\nbox = A()\n", module)
    before = module["A"]().fingerprint
    assert module["box"].fingerprint == before == module["A"]().fingerprint


def test_functions_that_know_each_other_and_values_that_hold_themselves_end() -> None:
    module: dict[str, Any] = {"__name__": "__main__", "RING": [1]}
    module["RING"].append(module["RING"])
    exec("def a(): return b(), RING\ndef b(): return a()\n", module)
    assert code_identity(module["a"]) == code_identity(module["a"])


def test_name_version_and_description_make_no_difference_and_everything_else_does() -> None:
    box = Box("x").env(A="1")
    assert box.named("y").described("something else", version="7") == box
    assert {box, box.named("y")} == {box}
    others = [
        box.env(A="2"), box.env(B="1"), box.files({"a": "1"}), box.files({"a": "2"}), box.pip("six==1.16"),
        box.pip("six==1.17"), box.run("true"), box.run("true", network=True), box.run("true", timeout_s=1),
        box.limit(pids=1), box.allow(network="full"), box.allow(ports=[80]), box.allow(mounts={"/a": "/b"}),
        box.allow(secrets=["s"]), box.require(isolation="vm"), box.warm(lambda: None), box.warm(lambda: 1),
    ]  # fmt: skip
    assert len({other.fingerprint for other in [box, *others]}) == len(others) + 1


def test_a_changed_input_file_changes_it_wherever_it_lies(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "data").mkdir(parents=True)
        (tmp_path / folder / "data" / "beans.txt").write_text("arabica")
        (tmp_path / folder / "pack-1.0-py3-none-any.whl").write_bytes(b"wheel")

    def box(folder: str) -> Box:
        here = tmp_path / folder
        return Box("x").files({"data": here / "data", "b.txt": here / "data/beans.txt"}).pip(
            here / "pack-1.0-py3-none-any.whl"
        )  # fmt: skip

    assert box("one") == box("two")
    before = box("one")
    (tmp_path / "one" / "data" / "beans.txt").write_text("robusta")
    assert box("one") != before
    (tmp_path / "two" / "pack-1.0-py3-none-any.whl").write_bytes(b"another")
    assert box("two") != before
    with pytest.raises(InvalidInput, match=r"no package file"):
        Box("x").pip(tmp_path)


def test_a_secret_is_a_name_and_its_value_is_refused() -> None:
    password = SecretStr("hunter2")

    def login() -> str:
        return password.get_secret_value()

    with pytest.raises(InvalidInput, match=r"context.secret"):
        _ = Box("x").skill(login).fingerprint
    definition, blobs = Box("x").allow(secrets=["password"]).skill(_with_context).pack()
    assert definition.policy.secrets == ["password"]
    assert not any(b"hunter2" in data for data in blobs.values())
    assert "hunter2" not in definition.model_dump_json()


def _with_context(n: int) -> int:
    return n


@pytest.mark.parametrize(
    ("requirement", "pinned"),
    [
        ("six==1.16.0", True), ("a[b,c]==2.0 ; python_version > '3'", True), ("six===1.16", True), ("six", False),
        ("six>=1.16", False), ("six==1.*", False), ("six==1.16,<2", False), ("git+https://example.org/x", False),
        ("./local.whl", False),
    ],
)  # fmt: skip
def test_an_unpinned_requirement_is_impure_and_expires(requirement: str, pinned: bool) -> None:
    step = PipStep(packages=[requirement])
    assert bool(step.impure) is not pinned
    assert step.lasts_s == (None if pinned else 86_400)
    assert PipStep(packages=[requirement], expires_s=5).lasts_s == 5


def test_a_command_that_fetches_is_impure_and_says_so_in_explain() -> None:
    assert RunStep(command="true").lasts_s is None
    said = Box("x").run("fetch it", network=True, expires_s=60).run("true").explain()
    assert [bool(layer.impure) for layer in said.layers] == [True, False, False]
    assert "made again when it is older than 60 s" in said.notes[0]
    assert "impure" in str(said)


def test_explain_tells_the_layers_of_each_part_and_shares_prefixes() -> None:
    a, b = Box("a").files({"a.txt": "1"}), Box("b").pip("six==1.16").run("true")
    alone, both = a.explain(), (a + b).explain()
    assert [(layer.kind, layer.part) for layer in both.layers] == [
        ("files", "a"), ("pip", "b"), ("run", "b"), ("template", ""),
    ]  # fmt: skip
    assert both.layers[0].fingerprint == alone.layers[0].fingerprint
    assert both.layers[1].fingerprint != b.explain().layers[0].fingerprint, "what lies below counts"
    assert both.layers[-1].fingerprint == both.fingerprint == (a + b).fingerprint
    assert {layer.cached for layer in both.layers} == {None}, "nobody was asked"


SCRIPT = """
    from pathlib import Path
    from box_agent.box.box import Box
    from box_agent.box.skill import skill
    from shop.prices import price, Menu
    import shop.prices as prices
    SIZES = frozenset({"small", "large", "huge", "tiny"})
    EXTRAS = {"milk": {"oat", "soy", "cow"}, "sugar": {"white", "brown"}}
    def helper(x):
        return x * 2
    class A(Box, env={"B": "1", "A": "2"}, files={"menu": Path(__file__).parent / "menu.txt"}):
        @skill
        def f(self, n: int) -> int:
            return helper(n) if n in SIZES else price(n) + prices.tax(n) + len(EXTRAS)
    class B(Box):
        def setup(self):
            self.menu = Menu()
        @skill
        def g(self, kinds: list[str]) -> dict[str, int]:
            return {kind: self.menu.PRICES[kind] for kind in kinds}
    print((A() + B()).fingerprint)
"""
PRICES = """
    class Menu:
        PRICES = {"latte": 3}
    def price(n):
        return Menu.PRICES["latte"] * n
    def tax(n):
        return n // 5
"""


def _tree(directory: Path, script: str = SCRIPT, prices: str = PRICES, menu: str = "latte") -> Path:
    (directory / "shop").mkdir(parents=True)
    (directory / "shop" / "__init__.py").write_text("")
    (directory / "shop" / "prices.py").write_text(textwrap.dedent(prices))
    (directory / "menu.txt").write_text(menu)
    (directory / "script.py").write_text(textwrap.dedent(script))
    return directory


def _fingerprint(tree: Path, *, seed: int = 0, cwd: Path | None = None, extra: dict[str, str] | None = None) -> str:
    env = {"PYTHONHASHSEED": str(seed), "PATH": os.defpath, "PYTHONPATH": str(ROOT), **(extra or {})}
    script = [sys.executable, str(tree / "script.py")]
    done = subprocess.run(script, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_fingerprints_agree_between_processes_places_and_copies(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "tree")
    original = _fingerprint(tree, seed=1)
    copied = tmp_path / "elsewhere" / "copy"
    shutil.copytree(tree, copied)
    assert _fingerprint(tree, seed=2) == original
    assert _fingerprint(tree, seed=3, cwd=tmp_path) == original
    assert _fingerprint(copied, seed=4, cwd=copied) == original
    assert _fingerprint(tree, extra={"PYTHONDONTWRITEBYTECODE": "1", "SECRET": "hunter2"}) == original
    commented = SCRIPT.replace("    def helper", "    # a comment, and a line further down\n\n    def helper")
    assert _fingerprint(_tree(tmp_path / "commented", commented + "\n    UNUSED = 1\n")) == original


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("script", "x * 2", "x * 3"),
        ("script", '"tiny"', '"mini"'),
        ("script", '"soy"', '"rice"'),
        ("script", '"B": "1"', '"B": "9"'),
        ("script", "n: int)", "n: int = 3)"),
        ("script", "list[str]", "tuple[str, ...]"),
        ("script", "self.menu = Menu()", "self.menu = Menu"),
        ("prices", '"latte": 3', '"latte": 4'),
        ("prices", "n // 5", "n // 6"),
        ("menu", "latte", "mocha"),
    ],
)
def test_every_change_that_matters_is_seen(tmp_path: Path, part: str, old: str, new: str) -> None:
    texts = {"script": SCRIPT, "prices": PRICES, "menu": "latte"}
    changed = {**texts, part: texts[part].replace(old, new)}
    assert changed != texts
    assert _fingerprint(_tree(tmp_path / "new", **changed)) != _fingerprint(_tree(tmp_path / "old"))
