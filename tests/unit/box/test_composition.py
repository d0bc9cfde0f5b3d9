"""The algebra of Boxes: its laws over generated Boxes, its conflicts, its fingerprints."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from box_agent.box.box import Box
from box_agent.box.program import Program
from box_agent.box.skill import skill
from schemas.box import Policy
from schemas.errors import CompositionConflict, InvalidInput, SkillNotFound


def _skill_named(name: str, answer: int) -> Any:
    def fn(self: Any) -> int:
        return answer

    fn.__name__ = fn.__qualname__ = name
    return fn


_VARIANTS = {
    (index, variant): Box(f"box-{index}")
    .skill(_skill_named(f"skill_{index}" if variant == 2 else f"skill_{index}_{variant}", index))
    .env(**{f"VAR_{index}": str(variant % 2)})
    for index in range(4)
    for variant in range(3)
}
boxes = st.sampled_from(list(_VARIANTS.values()))
"""Boxes of which some clash (the same index, another variant) and most do not."""


def _names(box: Box) -> list[str]:
    return [s.name for s in box.skills]


@given(boxes, boxes, boxes)
def test_composition_is_associative_and_idempotent_and_has_an_identity(a: Box, b: Box, c: Box) -> None:
    try:
        left, right = (a + b) + c, a + (b + c)
    except CompositionConflict:
        with pytest.raises(CompositionConflict):
            a + (b + c)
        return
    assert left == right
    assert left.name == right.name
    assert left.pack()[0].model_copy(update={"code": ""}) == right.pack()[0].model_copy(update={"code": ""})
    assert a + a == a
    assert (a + b) + a == a + b
    assert (a + b) + (a + b) == a + b
    assert Box.empty + a == a == a + Box.empty


@given(boxes, boxes)
def test_the_left_one_is_the_lower_layer(a: Box, b: Box) -> None:
    if a == b:
        assert (a + b).parts == [a.name]
    elif a.name == b.name and a.pack()[0].env != b.pack()[0].env:
        with pytest.raises(CompositionConflict, match=f"{a.name!r} and {b.name!r}"):
            a + b.prefer(Login())
    else:
        assert (a + b).parts == [a.name, b.name]
        assert a + b != b + a


class Login(Box):
    """Logs people in."""

    @skill
    def login(self, user: str) -> str:
        return f"token-of-{user}"


class Shop(Box, env={"CUP": "large"}):
    @skill
    def buy(self, kind: str) -> str:
        return f"{kind} for {self.login('ada')}"


class Kiosk(Box, env={"CUP": "small"}):
    @skill
    def buy(self, kind: str) -> str:
        return f"cheap {kind}"


class BigShop(Shop, env={"CUP": "huge"}):
    @skill
    def sell(self) -> str:
        return "sold"


class _Here:
    directory = Path()

    def run(self, command: str, *, timeout_s: float | None = None) -> str:
        return f"ran {command}"


def _started(box: Box) -> Program:
    definition, blobs = box.pack()
    program = Program.unpack(blobs[definition.code])
    program.start(_Here())
    return program


def _call(program: Program, name: str, *args: Any) -> Any:
    bound, instance = program.skill(name)
    return bound.start(bound.arguments(args), instance=instance)


def test_a_skill_calls_a_sibling_part_by_name() -> None:
    assert _call(_started(Login() + Shop()), "buy", "latte") == "latte for token-of-ada"


def test_without_the_sibling_the_error_says_so() -> None:
    with pytest.raises(AttributeError, match="login"):
        _call(_started(Shop()), "buy", "latte")
    with pytest.raises(AttributeError, match="once the composed Box is spawned"):
        Shop().buy("latte")


def test_a_skill_in_both_names_both_sides_and_the_cure() -> None:
    with pytest.raises(CompositionConflict, match=r"skill 'buy' is in both 'shop' and 'kiosk'.*prefer.*rename"):
        Shop() + Kiosk()


def test_an_env_variable_with_two_values_is_a_conflict_too() -> None:
    a, b = Box("a").env(X="1"), Box("b").env(X="2")
    with pytest.raises(CompositionConflict, match="environment variable 'X'"):
        a + b
    assert (a + Box("c").env(X="1")).pack()[0].env == {"X": "1"}
    assert (a + b.prefer(a)).pack()[0].env == {"X": "1"}
    assert (a.prefer(b) + b).pack()[0].env == {"X": "2"}


def test_prefer_decides_and_the_other_stays_reachable() -> None:
    both = Login() + Shop() + Kiosk().prefer(Shop())
    program = _started(both)
    assert _call(program, "buy", "tea") == "tea for token-of-ada"
    assert _call(program, "kiosk--buy", "tea") == "cheap tea"
    assert _names(both) == ["buy", "kiosk--buy", "login"]


def test_rename_tells_them_apart() -> None:
    both = Login() + Shop() + Kiosk().rename(buy="buy_cheap").prefer(Shop())
    assert _names(both) == ["buy", "buy_cheap", "login"]
    assert _call(_started(both), "buy_cheap", "tea") == "cheap tea"
    with pytest.raises(InvalidInput, match="no skill 'nothing'"):
        Shop().rename(nothing="x")


def test_inheritance_overrides_and_adds() -> None:
    big = BigShop()
    assert big.name == "big-shop"
    assert _names(big) == ["buy", "sell"]
    assert big.pack()[0].env == {"CUP": "huge"}


def test_grants_do_not_widen_by_composition() -> None:
    class Netted(Box, policy=Policy(network="full")):
        @skill
        def fetch(self) -> str:
            return ""

    with pytest.raises(CompositionConflict, match="grants do not widen"):
        Login() + Netted()


def test_class_style_and_value_style_are_the_same_kind_of_value() -> None:
    def greet(name: str) -> str:
        return f"hello {name}"

    box = Box("greeter").files({"a/b.txt": "text"}).pip("six").run("true").env(K="v").skill(greet)
    definition, blobs = box.pack()
    assert [s.kind for s in definition.steps] == ["files", "pip", "run"]
    assert b"text" in blobs.values()
    assert _call(_started(box), "greet", "ada") == "hello ada"
    assert Box("greeter") != box, "every builder returns a new value"


def test_a_path_that_climbs_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Box("x").files({"../up": "no"})


def test_code_that_cannot_travel_is_named() -> None:
    lock = __import__("threading").Lock()

    def locked() -> int:
        return 1 if lock else 0

    with pytest.raises(InvalidInput, match=r"'stuck' cannot travel.*setup"):
        Box("stuck").skill(locked).pack()


def test_hints_travel_although_they_are_text(tmp_path: Path) -> None:
    """With ``from __future__ import annotations`` no code refers to ``Mapping``, so it does not travel by itself."""
    script = """
        from __future__ import annotations
        import sys
        from collections.abc import Mapping
        from box_agent import Box, Context, skill
        class A(Box):
            @skill
            def f(self, context: Context, m: Mapping[str, int]) -> Mapping[str, int]:
                return m
        definition, blobs = A().pack()
        sys.stdout.buffer.write(blobs[definition.code])
    """
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(script))
    code = subprocess.run([sys.executable, str(file)], capture_output=True, check=True, timeout=60).stdout
    program = Program.unpack(code)
    program.start(_Here())
    assert _call(program, "f", {"a": 1}) == {"a": 1}


def test_an_unknown_skill_lists_what_there_is() -> None:
    with pytest.raises(SkillNotFound, match="login"):
        _started(Login()).skill("logout")


SCRIPT = """
    from box_agent.box.box import Box
    from box_agent.box.skill import skill
    SIZES = frozenset({"small", "large", "huge", "tiny"})
    def helper(x):
        return x * 2
    class A(Box, env={"B": "1", "A": "2"}):
        @skill
        def f(self, n: int) -> int:
            return helper(n) if n in SIZES else n
    print(A().fingerprint)
"""


def _fingerprint(script: str, seed: int, directory: Path) -> str:
    file = directory / f"script{seed}.py"
    file.write_text(textwrap.dedent(script))
    env = {"PYTHONHASHSEED": str(seed), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, str(file)], env=env, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_fingerprints_agree_between_processes_and_see_every_change(tmp_path: Path) -> None:
    original = _fingerprint(SCRIPT, 1, tmp_path)
    assert _fingerprint(SCRIPT, 2, tmp_path) == original
    assert (
        _fingerprint(SCRIPT + "\n    print('', end='')  # a line that the Box does not use\n", 3, tmp_path) == original
    )
    for old, new in [("x * 2", "x * 3"), ('"tiny"', '"mini"'), ('"B": "1"', '"B": "9"'), ("n: int)", "n: int = 3)")]:
        assert _fingerprint(SCRIPT.replace(old, new), 4, tmp_path) != original, f"{old} → {new} went unseen"
