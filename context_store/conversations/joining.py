"""The turns of a branch behind those of its parent: one line of turns, never interleaved.

Nobody sees what is written here until the parent's record points to it; if that never happens, it stays unused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from context_store.conversations.chain import Chain
from context_store.conversations.turn_log import TurnLog
from context_store.documents import encode
from schemas.branch import Branch, Shared
from schemas.conversation import Turn
from schemas.ids import new_id
from schemas.model import timestamp
from schemas.part import Part

_BATCH_TURNS: Final = 1000
_BATCH_BYTES: Final = 4 * 1024 * 1024
_MAX_PIECES: Final = 16


def chain_of(shared: Shared, line: str) -> Chain:
    """Where the turns are; ``line`` is where the next ones go if nobody has said yet."""
    return Chain(shared.past, shared.line or line, shared.turns)


def line_of(branch: str) -> str:
    """Also the id of the conversation of a branch; no other conversation's begins with ``@``."""
    return f"@{branch}"


def pointing(shared: Shared, chain: Chain, turn: str) -> Shared:
    """``shared`` with other turns."""
    return shared.model_copy(update={"past": chain.past, "line": chain.line, "turns": chain.turns, "turn": turn})


class Joining:
    """Joins conversations of one tenant's branches."""

    def __init__(self, log: TurnLog) -> None:
        self._log = log

    async def run(self, own: Branch, parent: Branch) -> Shared:
        """The parent's ``shared`` with the turns of both.

        The parent has no turns since the fork: it gets those of the branch, as they are; O(1). Else they are stored
        again behind the parent's, under the same ids, after one turn that says where they come from and has two
        parents. So are, every time, the last pieces of the parent that are no longer than what is written: a
        conversation of n turns has O(log n) pieces, and a turn is stored O(log n) times.
        """
        ours, theirs = own.shared, parent.shared
        count = ours.turns - own.base_shared.turns
        if count == 0:
            return theirs
        chain = chain_of(ours, line_of(own.id))
        line = f"{line_of(parent.id)}.{new_id('join')}"
        unmoved = (theirs.turns, theirs.turn) == (own.base_shared.turns, own.base_shared.turn)
        if unmoved and sum(1 for _ in chain.pieces()) <= _MAX_PIECES:
            return pointing(theirs, chain.cut_at(ours.turns, line), ours.turn)
        added = await self._newest(chain, own.base_shared.turns)
        if not unmoved:
            added.insert(0, _heading(own, parent, added))
        target = chain_of(theirs, line_of(parent.id))
        kept = target.turns
        for piece in reversed(list(target.pieces())):
            if piece.upto - piece.above > target.turns - kept + len(added):
                break
            kept = piece.above
        placed = _placed([*await self._newest(target, kept), *added], await self._turn_at(target, kept), kept)
        for batch in _batches(placed):
            await self._log.add(line, batch)
            await self._log.index(line, batch)
        grown = Chain(target.cut_at(kept, line).past, line, placed[-1].depth)
        return pointing(theirs, grown, placed[-1].id)

    async def _newest(self, chain: Chain, above: int) -> list[Turn]:
        """The turns at depths beyond ``above``, oldest first."""
        turns: list[Turn] = []
        async for turn in self._log.newest_first(chain):
            if turn.depth <= above:
                break
            turns.append(turn)
        return turns[::-1]

    async def _turn_at(self, chain: Chain, depth: int) -> str:
        async for turn in self._log.newest_first(chain, upto=depth):
            return turn.id
        return ""


def _heading(own: Branch, parent: Branch, turns: Sequence[Turn]) -> Turn:
    """Says to a reader, and to a model, that who spoke next had not heard what stands above."""
    authors = ", ".join(dict.fromkeys(turn.author for turn in turns if turn.author)) or own.owner
    said = f"{len(turns)} turn{'s' if len(turns) > 1 else ''}" + (f" by {authors}" if authors else "")
    return Turn(
        role="user",
        author=own.owner,
        parents=[parent.shared.turn, own.shared.turn],
        parts=[Part(text=f"(joined from branch {own.name or own.id}, said without knowing the above: {said})")],
        metadata={"joined": own.id, "turns": len(turns)},
        created_at=timestamp(),
    )


def _placed(turns: Sequence[Turn], parent: str, above: int) -> list[Turn]:
    """The same turns at their new depths; a further parent, of an earlier join, stays."""
    placed = []
    for depth, turn in enumerate(turns, above + 1):
        parents = [*([parent] if parent else []), *turn.parents[1:]]
        placed.append(turn.model_copy(update={"depth": depth, "parents": parents}))
        parent = turn.id
    return placed


def _batches(turns: Sequence[Turn]) -> list[list[Turn]]:
    """In pieces that one record can hold."""
    batches: list[list[Turn]] = [[]]
    size = 0
    for turn in turns:
        bytes_ = len(encode(turn.wire()))
        if batches[-1] and (len(batches[-1]) >= _BATCH_TURNS or size + bytes_ > _BATCH_BYTES):
            batches.append([])
            size = 0
        batches[-1].append(turn)
        size += bytes_
    return batches
