"""The algebra of Boxes: its laws over generated Boxes, its conflicts, its fingerprints."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from box_agent.box.box import Box
from box_agent.box.program import Program
from box_agent.box.skill import skill
from schemas.box import ISOLATION_ORDER, Policy, Resources, codes_of
from schemas.errors import CompositionConflict, InvalidInput, SkillNotFound


def _skill_named(name: str, answer: int) -> Any:
    def fn(self: Any) -> int:
        return answer

    fn.__name__ = fn.__qualname__ = name
    return fn


@st.composite
def _parts(draw: st.DrawFn) -> Box:
    """A single Box; names, skills and variables come from so few that two of them often clash."""
    box = Box(draw(st.sampled_from(["anna", "bert", "carl", "dora"])))
    for name in draw(st.sets(st.sampled_from(["brew", "sell", "wash"]), max_size=2)):
        box = box.skill(_skill_named(name, draw(st.integers(0, 1))))
    for name in draw(st.sets(st.sampled_from(["CUP", "BEAN"]), max_size=1)):
        box = box.env(**{name: draw(st.sampled_from("01"))})
    for step in draw(st.lists(st.sampled_from(["file", "pip", "run"]), max_size=2)):
        match step:
            case "file":
                box = box.files({f"{draw(st.sampled_from('ab'))}.txt": draw(st.sampled_from(["x", "y"]))})
            case "pip":
                box = box.pip(f"six==1.{draw(st.integers(1, 2))}")
            case "run":
                box = box.run(f"echo {draw(st.integers(1, 2))}")
    if draw(st.booleans()):
        box = box.limit(memory_bytes=draw(st.integers(1, 2)) * 2**20)
    if draw(st.integers(0, 5)) == 0:
        box = box.allow(network="full")
    if draw(st.booleans()):
        box = box.allow(secrets=[draw(st.sampled_from(["key", "pin"]))])
    if draw(st.integers(0, 3)) == 0:
        box = box.require(isolation=draw(st.sampled_from(["namespace", "vm"])))
    return box


parts = st.shared(st.lists(_parts(), min_size=3, max_size=3), key="parts")


@st.composite
def _boxes(draw: st.DrawFn) -> Box:
    """One of three parts, two of them where they compose, or Box.empty."""
    known = draw(parts)
    one, two = draw(st.sampled_from(known)), draw(st.sampled_from(known))
    match draw(st.integers(0, 5)):
        case 0:
            return Box.empty
        case 1 | 2:
            try:
                return one + two
            except CompositionConflict:
                return one
        case _:
            return one


boxes = _boxes()


def _try(compose: Callable[[], Box]) -> Box | None:
    try:
        return compose()
    except CompositionConflict:
        return None


def _whole(box: Box) -> Any:
    return box.pack()[0].model_copy(update={"code": "", "prefixes": []})


def _names(box: Box) -> list[str]:
    return [s.name for s in box.skills]


@settings(max_examples=60)
@given(boxes, boxes, boxes)
def test_composition_is_associative_and_idempotent_and_has_an_identity(a: Box, b: Box, c: Box) -> None:
    left, right = _try(lambda: (a + b) + c), _try(lambda: a + (b + c))
    assert (left is None) == (right is None)
    if left is not None and right is not None:
        assert left == right
        assert left.name == right.name
        assert _whole(left) == _whole(right)
        assert (a + b) + a == a + b
        assert (a + b) + (a + b) == a + b
    assert a + a == a
    assert Box.empty + a == a == a + Box.empty
    assert _whole(Box.empty + a) == _whole(a) == _whole(a + Box.empty)


@settings(max_examples=60)
@given(boxes, boxes)
def test_the_left_one_is_the_lower_layer(a: Box, b: Box) -> None:
    both, turned = _try(lambda: a + b), _try(lambda: b + a)
    assert (both is None) == (turned is None)
    if both is None or turned is None:
        return
    steps = [step.model_dump_json() for step in a.pack()[0].steps]
    assert [step.model_dump_json() for step in both.pack()[0].steps][: len(steps)] == steps
    assert both.parts[: len(a.parts)] == a.parts
    if a.parts and b.parts and len(both.parts) == len(a.parts) + len(b.parts):
        assert both != turned, "not commutative"


@settings(max_examples=60)
@given(boxes, boxes)
def test_a_refusal_names_both_sides_and_says_the_cure(a: Box, b: Box) -> None:
    if _try(lambda: a + b) is not None:
        return
    with pytest.raises(CompositionConflict, match='"x\\.') as refused:
        a + b
    names = refused.value.details["parts"]
    assert len(names) > 1
    assert all(repr(name) in refused.value.message for name in names)


@settings(max_examples=60)
@given(boxes, boxes)
def test_preferring_decides_skills_and_variables_and_loses_nothing(a: Box, b: Box) -> None:
    preferred = _try(lambda: a + b.prefer(a))
    if preferred is None:
        return
    definition = preferred.pack()[0]
    assert definition.env == {**b.pack()[0].env, **a.pack()[0].env}
    for spec in a.skills:
        assert spec in definition.skills, "the preferred one has its plain name"
    for box in (a, b):
        for spec in box.skills:
            reached = [s for s in definition.skills if s.part == spec.part and s.name.endswith(spec.name)]
            assert reached, f"{spec.part}.{spec.name} is reachable"


@settings(max_examples=60)
@given(boxes, boxes)
def test_no_skill_gets_more_than_the_box_it_came_with(a: Box, b: Box) -> None:
    both = _try(lambda: a + b)
    if both is None:
        return
    secrets = {(box_skill.part, box_skill.name): box_skill.secrets for box in (a, b) for box_skill in box.skills}
    assert {(s.part, s.name): s.secrets for s in both.skills} == secrets
    for box in (a, b):
        if box.skills:
            assert box.pack()[0].policy.network == both.pack()[0].policy.network
            assert box.pack()[0].policy.mounts == both.pack()[0].policy.mounts
    wanted = [ISOLATION_ORDER.index(box.pack()[0].policy.min_isolation) for box in (a, b)]
    assert ISOLATION_ORDER.index(both.pack()[0].policy.min_isolation) == max(wanted)


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
    program = Program([], {})
    for code in codes_of(definition):
        program.add(Program.unpack(blobs[code]))
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


@pytest.mark.parametrize("grant", [{"network": "full"}, {"ports": [80]}, {"mounts": {"/data": "/srv/data"}}])
def test_grants_do_not_widen_by_composition(grant: dict[str, Any]) -> None:
    """What a whole box has, network and mounts, stays with the skill it was given to: alone, or given to all."""

    class Netted(Box):
        @skill
        def fetch(self) -> str:
            return ""

    granted = Netted().allow(**grant)
    for one, other in ((Login(), granted), (granted, Login())):
        with pytest.raises(CompositionConflict, match="grants do not widen"):
            one + other
    both = Login().allow(**grant) + granted
    assert both.pack()[0].policy == granted.pack()[0].policy


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


def test_types_of_the_script_travel(tmp_path: Path) -> None:
    script = """
        import sys
        from dataclasses import dataclass, field
        from enum import Enum
        from pydantic import BaseModel
        from box_agent import Box, skill
        class Size(Enum):
            SMALL = "small"
        class Extra(BaseModel):
            name: str
        @dataclass
        class Order:
            kind: str
            size: Size = Size.SMALL
            extras: list[Extra] = field(default_factory=list)
        class A(Box):
            @skill
            def f(self, order: Order) -> Order:
                return Order(order.kind, extras=[Extra(name="milk")])
        definition, blobs = A().pack()
        sys.stdout.buffer.write(blobs[definition.code])
    """
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(script))
    code = subprocess.run([sys.executable, str(file)], capture_output=True, check=True, timeout=60).stdout
    program = Program.unpack(code)
    program.start(_Here())
    bound, instance = program.skill("f")
    result = bound.start(bound.arguments(({"kind": "latte"},)), instance=instance)
    assert bound.result(result) == {"kind": "latte", "size": "small", "extras": [{"name": "milk"}]}
    with pytest.raises(InvalidInput, match="kind"):
        bound.arguments(({},))


def test_an_unknown_skill_lists_what_there_is() -> None:
    with pytest.raises(SkillNotFound, match="login"):
        _started(Login()).skill("logout")


def test_rename_refuses_what_would_lose_a_skill_or_is_no_name() -> None:
    with pytest.raises(CompositionConflict, match="two skills 'sell'"):
        BigShop().rename(buy="sell")
    with pytest.raises(InvalidInput, match="cannot be a skill's name"):
        Shop().rename(buy="Buy It")


def test_what_was_preferred_stays_so_when_a_part_is_built_further() -> None:
    kiosk = Kiosk().prefer(Shop()).limit(pids=10).rename(buy="buy").allow(secrets=["pin"])
    assert _call(_started(Login() + Shop() + kiosk), "buy", "tea") == "tea for token-of-ada"


def test_two_parts_of_one_name_must_be_told_apart_where_they_share_a_skill() -> None:
    other = Kiosk().named("shop").prefer(Shop())
    with pytest.raises(CompositionConflict, match=r"shop--buy.*named"):
        Shop() + other
    assert _names(Shop() + other.named("stall")) == ["buy", "stall--buy"]


def test_a_value_does_not_change() -> None:
    box = Shop()
    with pytest.raises(AttributeError, match="is a value"):
        box.name = "other"


def test_a_skill_that_would_hide_what_the_platform_uses_is_refused() -> None:
    class Runner(Box):
        @skill
        def run(self, command: str) -> str:  # type: ignore[override]
            return command

    with pytest.raises(InvalidInput, match=r"hides Box.run.*@skill\(name"):
        Runner()


def test_several_parents_give_their_environment_and_the_nearer_one_wins() -> None:
    class Base(Box, env={"A": "base", "B": "base"}, resources=Resources(pids=5, cpus=1)):
        @skill
        def base(self) -> int:
            return 1

    class Side(Box, env={"A": "side"}, packages=["six==1.16"], policy=Policy(secrets=["pin"])):
        pass

    class Child(Side, Base, env={"C": "child"}, resources=Resources(cpus=2)):
        pass

    definition = Child().pack()[0]
    assert definition.env == {"A": "side", "B": "base", "C": "child"}
    assert definition.resources == Resources(pids=5, cpus=2)
    assert (definition.policy.secrets, len(definition.steps)) == (["pin"], 1)
    assert _names(Child()) == ["base"]


def test_value_style_has_a_warm_setup_and_reaches_its_own_and_other_skills() -> None:
    def prepare(self: Any) -> None:
        self.each = 3

    @skill(name="price-of")
    def price(self) -> int:
        return int(self.each)

    def total(self, n: int) -> str:
        return f"{self.price() * n} by {self.login('bob')}"

    box = Box("till").warm(prepare).skill(price).skill(total)
    program = _started(Login() + box)
    assert _call(program, "total", 2) == "6 by token-of-bob"
