"""Turns as they are stored.

What is appended together is one record (a *batch*) under ``line/depth``: so it is stored as a whole, the
database lets one of several appenders have a place, and neighbours are read in one query. Each turn also has an
*index* record, by which it is found by id or by its words. The index is derived from the batch, so whoever
finds it missing writes the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from collections.abc import Collection as Container
from dataclasses import dataclass
from typing import Final

from context_store.backend import Collection, Document, Record, Records
from context_store.conversations.chain import Chain
from schemas.conversation import Turn
from schemas.errors import AlreadyExists

BATCHES: Final = Collection("turn_batches")
TURN_INDEX: Final = Collection("turn_index", indexes=("turn", "line", "pinned_line", "at"), text="text")

_FIRST_PAGE: Final = 4
_LAST_PAGE: Final = 512
_INDEXED_AT_ONCE: Final = 256
_MAX_TEXT: Final = 64 * 1024


@dataclass(frozen=True)
class Place:
    """Where a turn is: the index record, read."""

    turn: str
    line: str
    depth: int
    batch: int


class TurnLog:
    """The turns of one tenant."""

    def __init__(self, batches: Records, index: Records) -> None:
        self._batches = batches
        self._index = index

    async def add(self, line: str, turns: Sequence[Turn]) -> None:
        """Store a batch at the depth its turns say. Raises `AlreadyExists` if another has that place."""
        doc = {"turns": [turn.wire() for turn in turns]}
        await self._batches.insert(_key(line, turns[0].depth), doc)

    async def batch_at(self, line: str, depth: int) -> list[Turn]:
        """The batch that begins there; empty if there is none."""
        record = await self._batches.get(_key(line, depth))
        return _turns(record) if record is not None else []

    async def index(self, line: str, batch: Sequence[Turn]) -> None:
        """Make every turn of a stored batch findable. Doing it again changes nothing."""
        for start in range(0, len(batch), _INDEXED_AT_ONCE):
            some = batch[start : start + _INDEXED_AT_ONCE]
            if len(some) == 1:
                await self._index_one(line, batch[0].depth, some[0])
                continue
            async with asyncio.TaskGroup() as group:
                for turn in some:
                    group.create_task(self._index_one(line, batch[0].depth, turn))

    async def places(self, turns: Container[str], chain: Chain) -> dict[str, Place]:
        """Those of the turn ids that are in the chain, and where."""
        found: dict[str, Place] = {}
        for record in await self._index.find({"turn": tuple(turns)}, limit=10_000):
            place = place_of(record)
            if chain.contains(place.line, place.depth):
                found[place.turn] = place
        return found

    async def read(self, place: Place) -> Turn:
        """The turn at a place that was found."""
        record = await self._batches.get(_key(place.line, place.batch))
        assert record is not None  # batches are never deleted
        return Turn.model_validate(record.doc["turns"][place.depth - place.batch])

    async def newest_first(self, chain: Chain, *, upto: int | None = None) -> AsyncIterator[Turn]:
        """The turns of the chain from the newest (or from depth ``upto``) to the first, read in growing pages."""
        top = chain.turns if upto is None else min(upto, chain.turns)
        size = _FIRST_PAGE
        for piece in reversed([p for p in chain.pieces() if p.above < top]):
            after = _key(piece.line, min(piece.upto, top) + 1)
            while True:
                page = await self._batches.find(prefix=f"{piece.line}/", after=after, order="-key", limit=size)
                for record in page:
                    for row in reversed(_rows(record, piece.above, min(piece.upto, top))):
                        yield Turn.model_validate(row)
                if len(page) < size:
                    break
                after, size = page[-1].key, min(size * 2, _LAST_PAGE)

    async def pinned(self, chain: Chain) -> list[Turn]:
        """The pinned and the system turns, oldest first. Read from the index alone, wherever they are."""
        turns: list[Turn] = []
        after: Record | None = None
        while page := await self._index.find({"pinned_line": chain.lines()}, after=after, limit=1000):
            places = ((place_of(record), record.doc["pinned"]) for record in page)
            turns += [Turn.model_validate(row) for p, row in places if chain.contains(p.line, p.depth)]
            if len(page) < 1000:
                break
            after = page[-1]
        return sorted(turns, key=lambda turn: turn.depth)

    async def search(
        self, words: str, lines: tuple[str, ...] | None, *, after: Record | None, limit: int
    ) -> list[Record]:
        """Index records of turns with all the words, newest first."""
        where = {"line": lines} if lines is not None else None
        return await self._index.find(where, text=words, order="-at", after=after, limit=limit)

    async def _index_one(self, line: str, batch: int, turn: Turn) -> None:
        doc: Document = {"turn": turn.id, "line": line, "depth": turn.depth, "batch": batch, "at": turn.created_at}
        if turn.pinned or turn.role == "system":
            doc |= {"pinned_line": line, "pinned": turn.wire()}
        if text := turn.text:
            doc["text"] = text[:_MAX_TEXT]
        try:
            await self._index.insert(_key(line, turn.depth), doc)
        except AlreadyExists:
            pass  # another appender helped, or an earlier try got this far


def place_of(record: Record) -> Place:
    """The place an index record names."""
    doc = record.doc
    return Place(doc["turn"], doc["line"], doc["depth"], doc["batch"])


def _key(line: str, depth: int) -> str:
    return f"{line}/{depth:010d}"


def _turns(record: Record) -> list[Turn]:
    return [Turn.model_validate(row) for row in record.doc["turns"]]


def _rows(record: Record, above: int, upto: int) -> list[Document]:
    """The stored turns of a batch at depths ``above + 1`` to ``upto``."""
    first = int(record.key.rpartition("/")[2])
    rows: list[Document] = record.doc["turns"]
    return rows[max(0, above + 1 - first) : max(0, upto + 1 - first)]
