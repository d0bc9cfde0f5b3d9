"""The queue and the slots as a replica remembers them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.tasks import state
from hub.tasks.backlog import Backlog, Group, Queued
from hub.tasks.record import StoredTask, digest, queue_key
from hub.tasks.slots import Slots
from schemas.task import TaskSpec

BOXES = ("a", "b", "c")


def queued(id: str, box: str = "a", priority: int = 0, created_at: float = 0.0, not_before: float = 0.0) -> Queued:
    return Queued(-priority, created_at, id, Group(box, "none", False), not_before)


class BacklogMachine(RuleBasedStateMachine):
    """Against a plain dictionary that is sorted when asked."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(50)
        self.model: dict[str, Queued] = {}
        self.now = 0.0

    @rule(
        id=st.integers(0, 30).map(str),
        box=st.sampled_from(BOXES),
        priority=st.integers(-2, 2),
        created_at=st.floats(0, 10),
        delay=st.sampled_from([0.0, 0.0, 3.0]),
    )
    def add(self, id: str, box: str, priority: int, created_at: float, delay: float) -> None:
        new = queued(id, box, priority, created_at, self.now + delay if delay else 0.0)
        present = self.model.get(id)
        if self.backlog.add(new, self.now):
            self.model[id] = new
        else:
            assert present is not None
            assert present.not_before == new.not_before

    @rule(id=st.integers(0, 30).map(str))
    def remove(self, id: str) -> None:
        self.backlog.remove(id)
        self.model.pop(id, None)

    @rule(seconds=st.floats(0, 4))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.backlog.promote(self.now)

    @rule(free=st.fixed_dictionaries({box: st.integers(0, 3) for box in BOXES}))
    def drain(self, free: dict[str, int]) -> None:
        self.backlog.promote(self.now)
        left = dict(free)

        def take(task: Queued) -> bool:
            if left[task.group.box] == 0:
                return False
            left[task.group.box] -= 1
            return True

        taken = list(self.backlog.drain(take))
        expected = []
        for task in sorted(q for q in self.model.values() if q.not_before <= self.now):
            if free[task.group.box] > 0:
                free[task.group.box] -= 1
                expected.append(task.id)
        assert [task.id for task in taken] == expected, "the order of the queue, among those that have a place"
        for task in taken:
            del self.model[task.id]

    @invariant()
    def it_knows_what_the_model_knows(self) -> None:
        assert len(self.backlog) == len(self.model)
        for box in BOXES:
            ready = any(q.group.box == box and q.not_before <= self.now for q in self.model.values())
            assert self.backlog.waits_for(box) == ready


TestBacklogMachine = BacklogMachine.TestCase


def test_a_full_backlog_refuses_and_the_store_keeps_the_rest() -> None:
    backlog = Backlog(2)
    assert [backlog.add(queued(str(n)), 0.0) for n in range(3)] == [True, True, False]
    assert backlog.full


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.floats(1e9, 2e9)), min_size=2, max_size=20, unique=True),
)
def test_the_stored_key_sorts_downwards_as_the_queue_does(tasks: list[tuple[int, float]]) -> None:
    made = [stored(str(n), priority, round(at, 3)) for n, (priority, at) in enumerate(tasks)]
    by_key = sorted(made, key=queue_key, reverse=True)
    by_queue = sorted(made, key=lambda task: (-task.spec.priority, task.created_at))
    assert [(t.spec.priority, t.created_at) for t in by_key] == [(t.spec.priority, t.created_at) for t in by_queue]


def stored(id: str, priority: int = 0, created_at: float = 1e9) -> StoredTask:
    spec = TaskSpec(id=id, box="a", skill="s", priority=priority)
    return state.submit(spec, tenant="t", submitter="me", digest=digest(spec), now=created_at)


def held(id: str, runner: str) -> StoredTask:
    return state.assign(stored(id), runner=runner, instance="", box="", lease_s=15, now=1e9)


def test_slots_follow_what_is_stored() -> None:
    slots = Slots()
    assert not slots.moved(held("t1", "r1"))
    assert not slots.moved(held("t2", "r1"))
    assert slots.count("r1") == 2
    ended = state.request_cancel(stored("t1"), by="", reason="", now=1e9)
    assert slots.moved(ended), "a place became free"
    assert not slots.moved(ended)
    assert slots.count("r1") == 1


def test_reconciling_believes_the_store_but_not_over_what_moved_meanwhile() -> None:
    slots = Slots()
    slots.moved(held("gone", "r1"))
    slots.moved(held("kept", "r1"))
    slots.reserve("r1", "reserved")
    slots.moved(held("ends", "r2"))
    slots.begin_reconcile()
    slots.release("ends")  # while the store is read
    slots.reconcile([("kept", "r1"), ("elsewhere", "r2"), ("ends", "r2")], reserved={"reserved"})
    assert slots.count("r1") == 2
    assert slots.count("r2") == 1
