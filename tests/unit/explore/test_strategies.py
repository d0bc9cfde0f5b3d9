"""What is grown next depends on what is known, and on nothing else."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from box_agent.explore import Beam, BestOf, Budget, FirstSuccess, Strategy, TreeSearch, Trial
from box_agent.explore.strategies import best
from schemas.errors import InvalidInput


def searched(strategy: Strategy, score: Any, waves: int = 100) -> list[Trial]:
    """All trials of a search without branches, whose score is a function of their path; what it grows was kept."""
    trials: list[Trial] = []
    kept: set[Trial] = set()
    for wave in range(waves):
        growth = strategy.grow(trials)
        assert wave == 0 or {parent for parent, _ in growth if parent is not None} <= kept
        if not growth:
            break
        for parent, count in growth:
            for _ in range(count):
                siblings = parent.children if parent else [t for t in trials if t.parent is None]
                trial = Trial((*(parent.path if parent else ()), len(siblings)), cast(Any, None), parent, 0)
                trial.score = score(trial.path)
                trials.append(trial)
                if parent is not None:
                    parent.children.append(trial)
        kept = strategy.keep(trials)
    assert len({trial.path for trial in trials}) == len(trials)
    return trials


def test_best_of_n_is_one_wave() -> None:
    trials = searched(BestOf(5), lambda path: path[0] * 1.0)
    found = best(trials)
    assert len(trials) == 5 and found is not None and found.path == (4,)
    assert FirstSuccess(3).first_success and not BestOf(3).first_success


def test_of_equals_the_shorter_and_then_the_first_is_best() -> None:
    found = best(searched(Beam(2, 2, 3), lambda path: 1.0))
    assert found is not None and found.path == (0,)
    assert best(searched(BestOf(3), lambda path: None)) is None


def test_a_beam_grows_the_best_of_each_round() -> None:
    trials = searched(Beam(width=2, children=3, depth=3), lambda path: float(sum(path)))
    assert [sum(t.depth == depth for t in trials) for depth in (1, 2, 3)] == [6, 6, 6]
    assert {t.path for t in trials if t.depth == 2} == {(first, n) for first in (4, 5) for n in range(3)}
    found = best(trials)
    assert found is not None and found.path == (5, 2, 2)


def test_a_beam_does_not_grow_failures() -> None:
    trials = searched(Beam(width=3, children=1, depth=3), lambda path: None if path[0] != 1 else 1.0)
    assert [t.path for t in trials] == [(0,), (1,), (2,), (1, 0), (1, 0, 0)]


def test_a_tree_search_spends_more_where_scores_are_good() -> None:
    trials = searched(TreeSearch(children=4, depth=6, batch=3), lambda path: 0.9 if path[0] == 2 else 0.1, waves=40)
    assert sum(t.path[0] == 2 for t in trials) > len(trials) / 2
    assert {t.path[0] for t in trials} == {0, 1, 2, 3}


def test_a_tree_search_ends_when_all_is_grown() -> None:
    trials = searched(TreeSearch(children=2, depth=3, batch=5), lambda path: 0.5)
    assert len(trials) == 2 + 4 + 8


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6))
def test_a_tree_search_is_within_its_bounds_and_the_same_each_time(
    seed: int, children: int, depth: int, batch: int
) -> None:
    def score(path: tuple[int, ...]) -> float | None:
        value = random.Random(f"{seed}{path}").random()
        return None if value < 0.2 else value

    trials = searched(TreeSearch(children, depth, batch), score, waves=30)
    assert all(len(t.children) <= children and t.depth <= depth for t in trials)
    assert all(not t.children for t in trials if t.score is None)
    again = searched(TreeSearch(children, depth, batch), score, waves=30)
    assert [t.path for t in again] == [t.path for t in trials]


def test_a_trials_random_numbers_depend_on_seed_and_path() -> None:
    def first(path: tuple[int, ...], seed: int) -> float:
        return Trial(path, cast(Any, None), None, seed).rng.random()

    assert first((0, 1), 7) == first((0, 1), 7)
    assert len({first((0, 1), 7), first((0, 1), 8), first((1, 0), 7), first((0,), 7)}) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: BestOf(0),
        lambda: Beam(0, 1, 1),
        lambda: Beam(1, 1, 0),
        lambda: TreeSearch(1, 1, 0),
        lambda: Budget(branches=0),
        lambda: Budget(seconds=-1.0),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(InvalidInput):
        make()
