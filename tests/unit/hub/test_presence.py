"""The live view, told what arrived and what time it is."""

from __future__ import annotations

from hub.registry.presence import Change, Presence
from schemas.box import LiveBox
from schemas.node import NodeInfo

SILENT_S = 15.0


def agent(id: str, instance: str = "i1", **fields: object) -> LiveBox:
    return LiveBox.model_validate({"id": id, "instance": instance, **fields})


def live(id: str, node: str = "n1", instance: str = "i1", **fields: object) -> LiveBox:
    return agent(id, instance, kind="live", node=node, **fields)


def kinds(changes: list[Change]) -> list[str]:
    return [change.kind for change in changes]


def test_only_what_differs_is_a_change() -> None:
    view = Presence(SILENT_S)
    assert kinds(view.beat(agent("planner", heartbeat_at=1.0), 0)) == ["box"]
    assert view.beat(agent("planner", heartbeat_at=3.0), 2) == []
    assert kinds(view.beat(agent("planner", heartbeat_at=5.0, calls=1), 4)) == ["box"]
    found = view.get("planner")
    assert found is not None
    assert found.heartbeat_at == 5.0


def test_instances_of_one_address_come_and_go_by_themselves() -> None:
    view = Presence(SILENT_S)
    view.beat(agent("planner", "old", started_at=1.0), 0)
    view.beat(agent("planner", "new", started_at=2.0), 0)
    assert [box.instance for box in view.instances("planner")] == ["old", "new"]
    newest = view.get("planner")
    assert newest is not None
    assert newest.instance == "new"
    (gone,) = view.goodbye("planner", "new", 1)
    assert gone.box is not None
    assert (gone.box.instance, gone.box.state) == ("new", "stopped")
    assert [box.instance for box in view.instances("planner")] == ["old"]


def test_who_is_silent_is_gone_and_no_earlier() -> None:
    view = Presence(SILENT_S)
    view.beat(agent("a"), 0)
    view.beat(agent("b"), 10)
    assert view.expire(SILENT_S) == []
    (gone,) = view.expire(SILENT_S + 0.1)
    assert gone.box is not None
    assert gone.box.id == "a"
    assert "silent" in gone.box.reason
    assert [box.id for box in view.boxes()] == ["b"]


def test_touch_forgives_the_silence_so_far() -> None:
    view = Presence(SILENT_S)
    view.beat(agent("a"), 0)
    view.node_beat(NodeInfo(name="n1"), [live("x")], 0)
    view.touch(100)
    assert view.expire(100 + SILENT_S) == []
    assert kinds(view.expire(100 + SILENT_S + 1)) == ["box_gone", "node_gone", "box_gone"]


def test_a_box_that_its_node_no_longer_lists_has_ended() -> None:
    view = Presence(SILENT_S)
    view.node_beat(NodeInfo(name="n1"), [live("x"), live("y")], 0)
    (gone,) = view.node_beat(NodeInfo(name="n1"), [live("y")], 2)
    assert gone.kind == "box_gone"
    assert gone.box is not None
    assert gone.box.id == "x"
    assert [box.id for box in view.boxes()] == ["y"]


def test_a_box_heard_of_before_its_node_lists_it_stays() -> None:
    """A beat that was under way while the box was made must not end it."""
    view = Presence(SILENT_S)
    view.node_beat(NodeInfo(name="n1"), [], 0)
    view.beat(live("x"), 1)
    assert view.node_beat(NodeInfo(name="n1"), [], 1.1) == []
    assert view.get("x") is not None


def test_a_node_that_goes_takes_its_boxes_along() -> None:
    view = Presence(SILENT_S)
    view.node_beat(NodeInfo(name="n1", instance="n-i"), [live("x")], 0)
    view.node_beat(NodeInfo(name="n2", instance="n-j"), [live("y", "n2")], 0)
    changes = view.goodbye("_node-n1", "n-i", 1)
    assert kinds(changes) == ["box_gone", "node_gone"]
    assert changes[-1].node is not None
    assert changes[-1].node.state == "gone"
    assert [node.name for node in view.nodes()] == ["n2"]
    assert [box.id for box in view.boxes()] == ["y"]


def test_a_late_goodbye_of_an_earlier_instance_changes_nothing() -> None:
    view = Presence(SILENT_S)
    view.node_beat(NodeInfo(name="n1", instance="second"), [live("x")], 0)
    assert view.goodbye("_node-n1", "first", 1) == []
    assert view.node("n1") is not None


def test_a_failed_box_keeps_its_reason() -> None:
    view = Presence(SILENT_S)
    view.node_beat(NodeInfo(name="n1"), [live("x", state="failed", reason="out of memory")], 0)
    (gone,) = view.node_beat(NodeInfo(name="n1"), [], 1)
    assert gone.box is not None
    assert (gone.box.state, gone.box.reason) == ("failed", "out of memory")


def test_goodbye_of_somebody_unknown_is_nothing() -> None:
    assert Presence(SILENT_S).goodbye("ghost", "", 0) == []
