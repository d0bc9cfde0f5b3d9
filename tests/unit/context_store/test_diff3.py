"""Merging lines, held against ``git merge-file``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_store.trees.diff3 import matches, merge_text
from context_store.trees.text import lines, unified_diff


def git_merge_file(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    with TemporaryDirectory() as directory:
        files = [Path(directory) / name for name in ("ours", "base", "theirs")]
        for file, data in zip(files, (ours, base, theirs), strict=True):
            file.write_bytes(data)
        command = ["git", "merge-file", "-p", "--quiet", *map(str, files)]
        done = subprocess.run(command, capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None


@st.composite
def histories(draw) -> tuple[bytes, bytes, bytes]:
    """A text of distinct lines and two edited copies; edits delete, change and insert lines."""
    count = draw(st.integers(0, 14))
    base = [b"line %d" % n for n in range(count)]

    def edited(side: bytes) -> list[bytes]:
        after = list(base)
        for number in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(after)))
            upto = min(len(after), at + draw(st.integers(0, 2)))
            new = [
                b"%s %d.%d" % (side if draw(st.booleans()) else b"both", number, n)
                for n in range(draw(st.integers(0, 2)))
            ]
            after[at:upto] = new
        return after

    def joined(some: list[bytes]) -> bytes:
        end = b"\n" if some and draw(st.sampled_from([True, True, True, False])) else b""
        return b"\n".join(some) + end

    return joined(base), joined(edited(b"ours")), joined(edited(b"theirs"))


@settings(max_examples=200)
@given(histories())
def test_as_git_does(history):
    base, ours, theirs = history
    assert merge_text(base, ours, theirs) == git_merge_file(base, ours, theirs)


@settings(max_examples=150)
@given(st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n"]), max_size=12).map(b"".join), st.data())
def test_laws_of_merging_any_text(base, data):
    other = data.draw(st.lists(st.sampled_from([b"a\n", b"b\n", b"x\n", b"y"]), max_size=12).map(b"".join))
    assert merge_text(base, other, base) == other
    assert merge_text(base, base, other) == other
    assert merge_text(base, other, other) == other
    third = data.draw(st.lists(st.sampled_from([b"a\n", b"c\n", b"z\n"]), max_size=12).map(b"".join))
    assert merge_text(base, other, third) == merge_text(base, third, other)


@settings(max_examples=200)
@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abcd"), max_size=30))
def test_matches_are_in_order_and_match(a, b):
    a, b = [x.encode() for x in a], [x.encode() for x in b]
    at_a = at_b = 0
    for in_a, in_b, size in matches(a, b):
        assert in_a >= at_a
        assert in_b >= at_b
        assert a[in_a : in_a + size] == b[in_b : in_b + size]
        at_a, at_b = in_a + size, in_b + size


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        (b"1\n2\n3\n", b"1\nX\n3\n", b"1\n2\n3\n4\n", b"1\nX\n3\n4\n"),
        (b"1\n2\n3\n", b"X\n2\n3\n", b"1\n2\nY\n", b"X\n2\nY\n"),
        (b"1\n2\n3\n", b"1\nX\n3\n", b"1\nY\n3\n", None),
        (b"1\n2\n3\n", b"1\nX\n3\n", b"1\n3\n", None),
        (b"1\n2\n", b"1\na\n2\n", b"1\nb\n2\n", None),
        (b"1\n2\n", b"X\n2\n", b"1\nY\n", None),
        (b"a\r\nb\r\nc\r\n", b"A\r\nb\r\nc\r\n", b"a\r\nb\r\nC", b"A\r\nb\r\nC"),
        (b"", b"x\n", b"x\n", b"x\n"),
        (b"1\n", b"", b"1\n", b""),
        (b"a\0b\n", b"a\0c\n", b"a\0b\nx\n", None),
        (b"x\n" * 10, b"y\n" + b"x\n" * 10, b"x\n" * 10 + b"z\n", b"y\n" + b"x\n" * 10 + b"z\n"),
    ],
)
def test_examples(base, ours, theirs, merged):
    assert merge_text(base, ours, theirs) == merged


def test_a_long_text_of_equal_lines_does_not_stall():
    base = b"same\n" * 60_000
    assert merge_text(base, b"top\n" + base, base + b"end\n") == b"top\n" + base + b"end\n"
    middle = b"same\n" * 30_000
    merge_text(base, middle + b"x\n" + middle[5:], middle[:-5] + b"y\n" + middle)


def test_texts_above_the_limit_are_not_merged():
    big = b"x\n" * 600_000
    assert merge_text(big, big + b"a\n", b"b\n" + big) is None


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_lines_lose_nothing(data):
    assert b"".join(lines(data)) == data
    assert all(line.endswith(b"\n") for line in lines(data)[:-1])


def test_unified_diff_says_when_the_last_newline_is_missing():
    assert unified_diff("f", b"a\n", b"a") == ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n")
    assert unified_diff("f", b"a\xff\n", b"b\n").count("\ufffd") == 1
    assert unified_diff("f", b"same", b"same") == ""
    assert unified_diff("f", b"x\n" * 30_000, b"y\n") == "f: 30000 lines, too many to compare\n"
