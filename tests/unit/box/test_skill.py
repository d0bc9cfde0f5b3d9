"""`spec_of` and `bind`: schema from hints, checked calls, every kind of function."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from box_agent.box.context import Context
from box_agent.box.skill import bind, skill, spec_of
from schemas.errors import InvalidArguments, InvalidInput


class Milk(Enum):
    oat = "oat"
    cow = "cow"


@dataclass
class Cup:
    size_ml: int
    milk: Milk = Milk.cow


class Order(BaseModel):
    cup: Cup
    at: dt.datetime


def run(fn: Any, *args: Any, instance: Any = None, context: Context | None = None, **kwargs: Any) -> Any:
    bound = bind(fn)
    return bound.result(bound.start(bound.arguments(args, kwargs), instance=instance, context=context))


def test_spec_from_hints() -> None:
    @skill(timeout_s=3, effect="external")
    def buy_coffee(kind: Literal["latte", "mocha"], sugar: int = 0) -> str:
        """Buy one."""
        return f"{kind} with {sugar}"

    spec = spec_of(buy_coffee)
    assert (spec.name, spec.description, spec.timeout_s, spec.effect) == ("buy_coffee", "Buy one.", 3, "external")
    assert spec.input_schema == {
        "type": "object",
        "properties": {
            "kind": {"enum": ["latte", "mocha"], "type": "string"},
            "sugar": {"default": 0, "type": "integer"},
        },
        "required": ["kind"],
        "additionalProperties": False,
    }
    assert spec.output_schema == {"type": "string"}
    jsonschema.Draft202012Validator.check_schema(spec.input_schema)
    assert run(buy_coffee, "latte", sugar=2) == "latte with 2"


def test_rich_types_arrive_as_themselves_and_leave_as_json() -> None:
    def order(order: Order, raw: bytes, tags: set[str], scale: float = 1.0) -> Order:
        assert isinstance(order, Order)
        assert isinstance(order.cup, Cup)
        assert order.cup.milk is Milk.oat
        assert (raw, tags) == (b"\x00\xff", {"a", "b"})
        order.cup.size_ml = int(order.cup.size_ml * scale)
        return order

    wire = {"cup": {"size_ml": 200, "milk": "oat"}, "at": "2024-01-02T03:04:05Z"}
    assert run(order, wire, "AP8=", ["a", "b"], 2) == {
        "cup": {"size_ml": 400, "milk": "oat"},
        "at": "2024-01-02T03:04:05Z",
    }
    local = Order(cup=Cup(200, Milk.oat), at=dt.datetime(2024, 1, 2, tzinfo=dt.UTC))
    assert run(order, local, b"\x00\xff", {"a", "b"})["cup"] == {"size_ml": 200, "milk": "oat"}


def test_bytes_come_back_as_base64() -> None:
    def typed() -> bytes:
        return b"\x00\xff"

    def untyped():
        return {"x": b"\x00\xff"}

    assert run(typed) == "AP8="
    assert run(untyped) == {"x": "AP8="}


def test_every_fault_is_listed() -> None:
    def fn(a: int, b: list[int], *, c: str) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        bind(fn).arguments(["x"], {"b": [1, "y"], "d": 1})
    errors = {tuple(e["loc"]): e["type"] for e in caught.value.details["errors"]}
    assert errors == {
        ("a",): "int_parsing",
        ("b", 1): "int_parsing",
        ("c",): "missing",
        ("d",): "extra_forbidden",
    }
    assert "fn" in str(caught.value)


@pytest.mark.parametrize(
    ("args", "kwargs", "kind"),
    [([1, 2, 3], {}, "unexpected_argument"), ([1], {"a": 2}, "given_twice"), ([object()], {}, "not_json")],
)
def test_wrong_shapes(args: list[Any], kwargs: dict[str, Any], kind: str) -> None:
    def fn(a: Any, b: int = 0) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        bind(fn).arguments(args, kwargs)
    assert caught.value.details["errors"][0]["type"] == kind


def test_names_that_pydantic_uses_itself_are_free() -> None:
    def fn(model_config: int, copy: int, json: int, schema: int, _hidden: int = 5) -> int:
        return model_config + copy + json + schema + _hidden

    assert run(fn, 1, 2, 3, schema=4) == 15
    assert set(spec_of(fn).input_schema["properties"]) == {"model_config", "copy", "json", "schema", "_hidden"}


def test_positional_only_keyword_only_and_open_keywords() -> None:
    def fn(a: int, /, b: int, *, c: int = 3, **rest: int) -> list[Any]:
        return [a, b, c, rest]

    assert run(fn, 1, 2) == [1, 2, 3, {}]
    assert run(fn, a=1, b=2, c=4, d=5) == [1, 2, 4, {"d": 5}]
    with pytest.raises(InvalidArguments):
        run(fn, 1, 2, d="x")


def test_defaults_are_pythons_own() -> None:
    marker = object()

    def fn(x: Any = marker) -> bool:
        return x is marker

    assert run(fn) is True
    assert spec_of(fn).input_schema["properties"]["x"] in ({}, {"default": None})


def test_constraints_and_descriptions_reach_the_schema() -> None:
    def fn(n: Annotated[int, Field(ge=1, description="how many")]) -> int:
        return n

    assert spec_of(fn).input_schema["properties"]["n"] == {
        "type": "integer",
        "minimum": 1,
        "description": "how many",
    }
    with pytest.raises(InvalidArguments):
        run(fn, 0)


class Shop:
    price = 3

    @skill
    def buy(self, n: int, ctx: Context | None = None) -> int:
        return self.price * n

    @skill(name="open-up")
    def openUp(self) -> str:
        return "open"


def test_methods_take_an_instance_and_context_is_not_an_argument() -> None:
    bound = bind(Shop.buy)
    assert bound.wants_instance
    assert bound.context_parameter == "ctx"
    assert list(bound.spec.input_schema["properties"]) == ["n"]
    assert run(Shop.buy, 2, instance=Shop()) == 6
    assert run(Shop().buy, 2) == 6
    assert bind(Shop.openUp).name == "open-up"


async def test_kinds() -> None:
    def generator(n: int) -> Iterator[int]:
        yield from range(n)

    async def coroutine(n: int) -> int:
        return n

    async def agen(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    assert bind(generator).kind == "generator"
    assert list(bind(generator).start(bind(generator).arguments([2]))) == [0, 1]
    assert spec_of(generator).streaming
    assert spec_of(generator).output_schema == {"type": "integer"}
    assert bind(coroutine).kind == "async"
    assert await bind(coroutine).start(bind(coroutine).arguments([2])) == 2
    assert bind(agen).kind == "async_generator"
    assert [i async for i in bind(agen).start(bind(agen).arguments([2]))] == [0, 1]


def test_refusals_name_the_skill_and_the_cure() -> None:
    class Odd: ...

    def takes(x: Odd) -> None: ...
    def gives() -> Odd:
        return Odd()

    def stars(*xs: int) -> None: ...
    def missing(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def BadName() -> None: ...

    cases: list[tuple[Any, str]] = [
        (takes, "takes"),
        (gives, "gives"),
        (stars, "list parameter"),
        (missing, "Nowhere"),
        (BadName, "@skill(name="),
    ]
    for fn, words in cases:
        with pytest.raises(InvalidInput, match=words.replace("(", r"\(")):
            spec_of(fn)


def test_a_result_without_json_form_is_said() -> None:
    def fn():
        return object()

    with pytest.raises(InvalidInput, match="object"):
        run(fn)


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.none() | st.lists(st.booleans())),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_what_goes_in_as_json_comes_out_equal(data: dict[str, Any], number: float) -> None:
    def echo(data: dict[str, Any], number: float) -> dict[str, Any]:
        return {"data": data, "number": number}

    assert run(echo, data, number=number) == {"data": data, "number": number}
