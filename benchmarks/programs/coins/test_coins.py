import pytest
from coins import fewest, ways


@pytest.mark.parametrize(
    ("amount", "coins", "expected"),
    [
        (0, [1, 5], 0),
        (7, [1, 5], 3),
        (6, [4, 3, 1], 2),
        (30, [25, 10, 1], 3),
        (3, [2, 4], None),
        (11, [5], None),
    ],
)
def test_fewest(amount, coins, expected):
    assert fewest(amount, coins) == expected


def test_fewest_does_not_depend_on_the_order():
    assert fewest(63, [1, 5, 10, 21, 25]) == fewest(63, [25, 21, 10, 5, 1]) == 3


def test_ways():
    assert ways(5, [1, 2, 5]) == 4
    assert ways(3, [2]) == 0
