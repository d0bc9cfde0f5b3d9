from __future__ import annotations

import pytest
from roombook import Catalogue, Room


def test_the_tightest_fit_comes_first(rooms: Catalogue) -> None:
    assert [room.name for room in rooms.suitable(5)] == ["Curie", "Babbage", "Darwin"]
    assert [room.name for room in rooms.suitable(5, frozenset({"screen"}))] == ["Babbage", "Darwin"]
    assert rooms.suitable(30) == []


def test_floors(rooms: Catalogue) -> None:
    assert rooms.floors() == {1: ["Ada", "Curie"], 2: ["Babbage"], 3: ["Darwin"]}


def test_names_are_unique_and_known(rooms: Catalogue) -> None:
    with pytest.raises(ValueError, match="two rooms"):
        Catalogue([Room("Ada", 4), Room("Ada", 6)])
    with pytest.raises(LookupError, match="no room 'Euler'"):
        rooms.get("Euler")
