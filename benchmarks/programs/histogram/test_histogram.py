from histogram import bars, histogram, mode


def test_empty():
    assert histogram([], 3) == [0, 0, 0]


def test_even_values():
    assert histogram([0, 1, 2, 3, 4, 5], 3) == [2, 2, 2]


def test_the_largest_is_in_the_last_bucket():
    assert histogram([0, 10], 5) == [1, 0, 0, 0, 1]


def test_skewed():
    assert histogram([1, 1, 1, 2, 9, 11], 5) == [4, 0, 0, 0, 2]


def test_bars():
    assert bars([1, 2, 4], width=4) == ["*", "**", "****"]
    assert bars([0, 0]) == ["", ""]


def test_mode():
    assert mode(histogram([5, 5, 6, 1, 10], 3)) == 1
