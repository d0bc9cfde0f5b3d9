"""How alike two files are, measured as git does: the bytes of the pieces they share, of the larger one's bytes.

A piece is a line, cut after 64 bytes; a carriage return before the line's end does not count. So a file that was
moved and edited is told from a new one by the same number that ``git diff -M`` shows.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

ALIKE: Final = 0.5
"""From here on a deleted and an added file are one that was renamed: git's default."""

_PIECE: Final = re.compile(rb"[^\n]{0,63}\n|[^\n]{64}|[^\n]+")

Pieces = Counter[bytes]


def pieces(data: bytes) -> Pieces:
    """The content as a bag of pieces."""
    return Counter(_PIECE.findall(data.replace(b"\r\n", b"\n") if b"\0" not in data[:8000] else data))


def may_be_alike(a_bytes: int, b_bytes: int, at_least: float = ALIKE) -> bool:
    """Whether the sizes allow it, before anything is read. Empty files are like nothing."""
    smaller, larger = sorted((a_bytes, b_bytes))
    return smaller > 0 and smaller >= larger * at_least


def similarity(a: Pieces, a_bytes: int, b: Pieces, b_bytes: int) -> float:
    """0 to 1. O(pieces)."""
    if len(b) < len(a):
        a, b = b, a
    shared = sum(len(piece) * min(count, b[piece]) for piece, count in a.items() if piece in b)
    return shared / max(a_bytes, b_bytes, 1)
