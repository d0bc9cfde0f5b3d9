"""Three-way merge of lines: the diff3 algorithm (Khanna, Kunal, Pierce: "A Formal Investigation of Diff3", 2007).

Written here because the libraries for it are under the GPL; what it needs of a library, the matching of two
sequences, is `difflib`. The tests hold it against ``git merge-file``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

from context_store.trees.text import is_text, lines

MAX_BYTES: Final = 1024 * 1024
"""Per side. Matching is quadratic in the worst case, so larger texts are a conflict instead of a stall."""

_MAX_PAIRS: Final = 1_000_000

Match = tuple[int, int, int]


def merge_text(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both sides' changes to ``base``; ``None`` if they overlap or touch, or if this is no text to merge."""
    sides = (base, ours, theirs)
    if any(len(side) > MAX_BYTES or not is_text(side) for side in sides):
        return None
    merged: list[bytes] = []
    for b, o, t in _chunks(*(lines(side) for side in sides)):
        if o == b:
            merged += t
        elif t in (b, o):
            merged += o
        else:
            return None
    return b"".join(merged)


def _chunks(base: list[bytes], ours: list[bytes], theirs: list[bytes]) -> Iterator[tuple[list[bytes], ...]]:
    """The three texts cut into aligned pieces, in turn unstable and stable (equal in all three)."""
    at_base = at_ours = at_theirs = 0
    for in_base, in_ours, in_theirs, size in _stable(matches(base, ours), matches(base, theirs)):
        yield base[at_base:in_base], ours[at_ours:in_ours], theirs[at_theirs:in_theirs]
        yield (base[in_base : in_base + size],) * 3
        at_base, at_ours, at_theirs = in_base + size, in_ours + size, in_theirs + size
    yield base[at_base:], ours[at_ours:], theirs[at_theirs:]


def _stable(in_ours: Sequence[Match], in_theirs: Sequence[Match]) -> Iterator[tuple[int, int, int, int]]:
    """Runs of base lines matched on both sides: ``(base, ours, theirs, length)``."""
    i = j = 0
    while i < len(in_ours) and j < len(in_theirs):
        base_o, ours, size_o = in_ours[i]
        base_t, theirs, size_t = in_theirs[j]
        start, end = max(base_o, base_t), min(base_o + size_o, base_t + size_t)
        if start < end:
            yield start, ours + start - base_o, theirs + start - base_t, end - start
        if base_o + size_o <= base_t + size_t:
            i += 1
        else:
            j += 1


def matches(a: list[bytes], b: list[bytes]) -> list[Match]:
    """Matching runs ``(start in a, start in b, length)``, in order. Common ends are cut off first: edits are local."""
    head = 0
    while head < min(len(a), len(b)) and a[head] == b[head]:
        head += 1
    tail = 0
    while tail < min(len(a), len(b)) - head and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    # Lines that occur very often on both sides make the exact search quadratic; then difflib ignores them.
    counts = Counter(middle_b)
    pairs = sum(counts[line] for line in middle_a)
    matcher = SequenceMatcher(None, middle_a, middle_b, autojunk=pairs > _MAX_PAIRS)
    found = [(i + head, j + head, n) for i, j, n in matcher.get_matching_blocks() if n]
    if head:
        found.insert(0, (0, 0, head))
    if tail:
        found.append((len(a) - tail, len(b) - tail, tail))
    return found
