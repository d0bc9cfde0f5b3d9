from spiral import spiral, square


def test_empty():
    assert spiral([]) == []


def test_one_row():
    assert spiral([[1, 2, 3]]) == [1, 2, 3]


def test_one_column():
    assert spiral([[1], [2], [3]]) == [1, 2, 3]


def test_two_by_two():
    assert spiral(square(2)) == [1, 2, 4, 3]


def test_three_by_three():
    assert spiral(square(3)) == [1, 2, 3, 6, 9, 8, 7, 4, 5]


def test_four_by_four():
    assert spiral(square(4)) == [1, 2, 3, 4, 8, 12, 16, 15, 14, 13, 9, 5, 6, 7, 11, 10]


def test_wide():
    assert spiral([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]) == [1, 2, 3, 4, 8, 12, 11, 10, 9, 5, 6, 7]
