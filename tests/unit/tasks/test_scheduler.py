"""Filter, then score: every refusal has a reason, and the reasons are the true ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.scheduler import Demand, Placement, place
from hub.scheduler.filters import FILTERS
from schemas.box import BoxDefinition, Policy, SpawnRequest
from schemas.errors import NoCapacity
from schemas.node import DriverInfo, NodeInfo

PROCESS = DriverInfo(name="process", isolation="none", branching="fs")
LOCAL = DriverInfo(name="local", isolation="namespace", branching="live")
BROKEN = DriverInfo(name="microvm", isolation="vm", branching="live", available=False, reason="needs /dev/kvm")


def node(name: str, *drivers: DriverInfo, **fields: object) -> NodeInfo:
    defaults = {"cpus": 4, "max_boxes": 10, "max_attempts": 4, "drivers": list(drivers or [PROCESS])}
    return NodeInfo.model_validate({"name": name} | defaults | fields)


def placed(demand: Demand, *nodes: NodeInfo) -> Placement:
    found = place(demand, nodes)
    assert isinstance(found, Placement)
    return found


@pytest.mark.parametrize(
    ("demand", "candidate", "reason"),
    [
        (Demand("x", node="b"), node("a"), "only node 'b' is wanted"),
        (Demand("x"), node("a", state="draining"), "is draining"),
        (Demand("x", labels={"gpu": "1"}), node("a", labels={"gpu": "0"}), "lacks the label gpu=1"),
        (Demand("x"), node("a", drivers=[]), "has no driver"),
        (Demand("x", driver="local"), node("a"), "driver 'process' is not 'local'"),
        (Demand("x", isolation="vm"), node("a", LOCAL, BROKEN), "needs /dev/kvm"),
        (Demand("x", isolation="namespace"), node("a"), "isolates by 'none'"),
        (Demand("x", branching="live"), node("a"), "branches by 'fs'"),
        (Demand("x", loopback=True), node("a"), "cannot forward ports"),
        (Demand("x", mounts=True), node("a"), "cannot mount directories"),
        (Demand("x", cpus=8), node("a"), "has 4 CPUs, 8 are wanted"),
        (Demand("x", memory_bytes=2), node("a", memory_bytes=1), "1 bytes of memory"),
        (Demand("x"), node("a", boxes=10), "is full: 10 of 10 boxes"),
        (Demand("x", attempt=True), node("a", attempts=4), "is full: 4 of 4 attempts"),
    ],
)
def test_every_refusal_says_why(demand: Demand, candidate: NodeInfo, reason: str) -> None:
    found = place(demand, [candidate])
    assert isinstance(found, NoCapacity)
    assert reason in found.details["reasons"]["a"]
    assert reason in str(found)
    assert found.retryable


def test_without_a_node_the_cure_is_told() -> None:
    assert "boxhub node" in str(place(Demand("task 't'"), []))


def test_a_full_node_still_takes_a_box_that_is_no_attempt() -> None:
    assert placed(Demand("x"), node("a", attempts=4)).node.name == "a"


def test_the_first_driver_that_satisfies_is_taken_and_the_reasons_name_the_losers() -> None:
    found = placed(Demand("x"), node("a", BROKEN, LOCAL, PROCESS), node("b", boxes=5))
    assert (found.node.name, found.driver) == ("a", "local")
    assert placed(Demand("x", isolation="namespace"), node("a", PROCESS, LOCAL)).driver == "local"
    assert set(found.reasons) == {"b"}


def test_load_is_spread_and_a_warm_template_outweighs_a_little_of_it() -> None:
    assert placed(Demand("x"), node("a", boxes=3), node("b", boxes=2)).node.name == "b"
    warm = Demand("x", fingerprints=("f",))
    assert placed(warm, node("a", boxes=3, templates=["f"]), node("b")).node.name == "a"
    assert placed(warm, node("a", boxes=9, templates=["f"]), node("b")).node.name == "b"


def test_the_longest_prefix_that_is_warm_draws_a_box() -> None:
    box = Demand("x", fingerprints=("a", "ab", "abc"))
    warm = [node("a", templates=["a"]), node("b", templates=["a", "ab"]), node("c"), node("d", templates=["other"])]
    assert placed(box, *warm).node.name == "b"
    assert placed(box, *warm, node("e", templates=["abc"])).node.name == "e"


def test_demands_are_the_stronger_of_request_and_policy() -> None:
    definition = BoxDefinition(name="ocr", fingerprint="f", policy=Policy(min_isolation="namespace"))
    spawn = Demand.of_spawn(SpawnRequest(definition=definition, branch="b1", isolation="landlock"))
    assert (spawn.isolation, spawn.branching, spawn.attempt) == ("namespace", "fs", False)
    task = Demand.of_task("ocr", "vm", False, definition)
    assert (task.isolation, task.branching, task.attempt) == ("vm", "replay", True)


nodes = st.builds(
    node,
    st.sampled_from("abcdef"),
    st.sampled_from([PROCESS, LOCAL, BROKEN]),
    state=st.sampled_from(["ready", "draining", "gone"]),
    boxes=st.integers(0, 12),
    attempts=st.integers(0, 5),
    templates=st.lists(st.sampled_from("fg")),
)
demands = st.builds(
    Demand,
    st.just("x"),
    isolation=st.sampled_from(["none", "namespace"]),
    attempt=st.booleans(),
    fingerprints=st.tuples(st.sampled_from("fg"), st.sampled_from("fg")),
)


@given(demands, st.lists(nodes, unique_by=lambda n: n.name))
def test_a_node_is_found_exactly_when_one_passes_all_filters(demand: Demand, candidates: list[NodeInfo]) -> None:
    able = {n.name for n in candidates if all(f(demand, n) is None for f in FILTERS)}
    found = place(demand, candidates)
    again = place(demand, reversed(candidates))
    if isinstance(found, Placement):
        assert found.node.name in able
        assert isinstance(again, Placement)
        assert again.node.name == found.node.name, "the order of the nodes must not matter"
        assert set(found.reasons) == {n.name for n in candidates} - {found.node.name}
    else:
        assert not able
        assert set(found.details["reasons"]) == {n.name for n in candidates}
