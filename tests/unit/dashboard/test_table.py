"""Rows by id that know what changed."""

from __future__ import annotations

from dataclasses import dataclass

from hub.dashboard.table import Table


@dataclass(frozen=True)
class Thing:
    id: str
    state: str
    beat: int = 0
    age: float = 0.0


def things() -> Table[Thing]:
    return Table(
        key=lambda t: t.id,
        signature=lambda t: t.state,
        row=lambda t: {"id": t.id, "state": t.state, "beat": t.beat},
        age=lambda t: t.age,
    )


def test_only_what_differs_in_the_signature_is_a_change() -> None:
    table = things()
    table.put(Thing("a", "ready", beat=1))
    assert table.take_changes() == {"a": {"id": "a", "state": "ready", "beat": 1}}
    table.put(Thing("a", "ready", beat=2))
    assert table.take_changes() == {}
    table.put(Thing("a", "failed", beat=3))
    assert table.take_changes()["a"] == {"id": "a", "state": "failed", "beat": 3}


def test_many_changes_between_two_frames_are_the_newest_one() -> None:
    table = things()
    for state in ("starting", "ready", "stopping"):
        table.put(Thing("a", state))
    assert table.take_changes() == {"a": {"id": "a", "state": "stopping", "beat": 0}}


def test_replacing_drops_what_is_gone_and_says_so() -> None:
    table = things()
    for name in "abc":
        table.put(Thing(name, "ready"))
    table.take_changes()
    with table.replacing() as found:
        found += [Thing("b", "ready"), Thing("d", "ready")]
    assert sorted(table.rows) == ["b", "d"]
    assert table.take_changes() == {"a": None, "c": None, "d": {"id": "d", "state": "ready", "beat": 0}}


def test_what_came_while_a_list_was_read_is_not_dropped_by_it() -> None:
    table = things()
    table.put(Thing("old", "ready"))
    with table.replacing() as found:
        table.put(Thing("new", "ready"))
        found.append(Thing("old", "ready"))
    assert sorted(table.rows) == ["new", "old"]


def test_a_version_that_comes_late_is_ignored() -> None:
    table = things()
    with table.replacing() as found:
        table.put(Thing("a", "completed", age=2))
        found.append(Thing("a", "working", age=1))
    assert table.rows["a"]["state"] == "completed"


def test_drop_is_harmless_twice_and_what_returns_is_new_again() -> None:
    table = things()
    table.put(Thing("a", "ready", age=5))
    table.drop("a")
    table.drop("a")
    assert table.take_changes() == {"a": None}
    table.put(Thing("a", "ready", age=1))
    assert table.take_changes()["a"] is not None
