"""Which stored turns a conversation consists of.

Turns are stored in *lines*: numbered sequences only one conversation appends to. A conversation is a list of
pieces, oldest first: "line A up to depth 7, then line B up to 12". Depth counts from 1 over the whole chain, so the
piece in B begins at 8. A fork copies the list and starts an own line: O(pieces), however many turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """Turns ``above + 1`` to ``upto`` of a conversation are in ``line``."""

    line: str
    above: int
    upto: int


@dataclass(frozen=True)
class Chain:
    """``past``: finished pieces as ``(line, upto)``; ``line``: where new turns go; ``turns``: how many there are."""

    past: tuple[tuple[str, int], ...]
    line: str
    turns: int

    @classmethod
    def load(cls, doc: dict[str, Any]) -> Chain:
        return cls(tuple((line, upto) for line, upto in doc.get("past", ())), doc["line"], doc["turns"])

    def to_doc(self) -> dict[str, Any]:
        return {"past": [list(piece) for piece in self.past], "line": self.line, "turns": self.turns}

    def pieces(self) -> Iterator[Piece]:
        """Oldest first; pieces without turns are left out."""
        above = 0
        for line, upto in (*self.past, (self.line, self.turns)):
            if upto > above:
                yield Piece(line, above, upto)
                above = upto

    def lines(self) -> tuple[str, ...]:
        return tuple(piece.line for piece in self.pieces())

    def contains(self, line: str, depth: int) -> bool:
        """Whether what is at ``depth`` in ``line`` belongs to this conversation."""
        return any(p.line == line and p.above < depth <= p.upto for p in self.pieces())

    def cut_at(self, depth: int, line: str) -> Chain:
        """The first ``depth`` turns, to be continued in a new line."""
        past = tuple((p.line, min(p.upto, depth)) for p in self.pieces() if p.above < depth)
        return Chain(past, line, depth)
