import pytest
from build_order import build_order, levels

HOUSE = {"roof": ["walls"], "walls": ["floor"], "floor": [], "door": ["walls"]}


def test_nothing():
    assert build_order({}) == []


def test_a_chain():
    assert build_order({"c": ["b"], "b": ["a"], "a": []}) == ["a", "b", "c"]


def test_what_two_things_need_is_built_once():
    assert build_order(HOUSE) == ["floor", "walls", "door", "roof"]


def test_a_diamond():
    assert build_order({"d": ["b", "c"], "b": ["a"], "c": ["a"]}) == ["a", "b", "c", "d"]


def test_a_circle():
    with pytest.raises(ValueError, match="needs itself"):
        build_order({"a": ["b"], "b": ["a"]})


def test_levels():
    assert levels(HOUSE) == {"floor": 0, "walls": 1, "door": 2, "roof": 2}
