import pytest
from run_length import decode, encode, longest, runs


def test_runs():
    assert runs("aabccc") == [("a", 2), ("b", 1), ("c", 3)]


def test_nothing():
    assert runs("") == []
    assert encode("") == ""
    assert decode("") == ""


@pytest.mark.parametrize(("text", "code"), [("a", "a1"), ("aaab", "a3b1"), ("abab", "a1b1a1b1"), ("z" * 12, "z12")])
def test_encode(text, code):
    assert encode(text) == code


@pytest.mark.parametrize(("text", "code"), [("a", "a1"), ("aaab", "a3b1"), ("z" * 12 + "y", "z12y1")])
def test_decode(text, code):
    assert decode(code) == text


def test_longest():
    assert longest("aabbbccc") == ("b", 3)
