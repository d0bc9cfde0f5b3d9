import pytest
from collatz import slowest, step, steps


def test_step():
    assert step(10) == 5
    assert step(5) == 16


def test_one_is_the_end():
    assert steps(1) == 0


@pytest.mark.parametrize(("number", "expected"), [(2, 1), (6, 8), (27, 111)])
def test_steps(number, expected):
    assert steps(number) == expected


def test_slowest():
    assert slowest(10) == 9


def test_only_positive_numbers():
    with pytest.raises(ValueError, match="positive"):
        steps(0)
