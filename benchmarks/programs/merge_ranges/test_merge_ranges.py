import pytest
from merge_ranges import count, merge, parse, write


def test_parse():
    assert parse("1-3, 7,,9-10") == [(1, 3), (7, 7), (9, 10)]


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        ("", ""),
        ("5", "5"),
        ("1-3, 4-6", "1-6"),
        ("4-6, 1-2", "1-2, 4-6"),
        ("1-9, 2-3", "1-9"),
        ("1-9, 2-3, 8-12", "1-12"),
        ("3-5, 1-20, 7", "1-20"),
    ],
)
def test_merge(text, merged):
    assert write(merge(parse(text))) == merged


def test_count():
    assert count(parse("1-3, 3-4")) == 4
    assert count(parse("1-10, 4-5")) == 10
