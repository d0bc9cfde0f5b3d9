"""`Conversations`: create, append, read, fork, adopt, search."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from weakref import WeakValueDictionary

from context_store.backend import Collection, Document, Record, Records
from context_store.branch_records import Stored, ended
from context_store.conversations import prompt
from context_store.conversations.chain import Chain
from context_store.conversations.joining import chain_of, line_of, pointing
from context_store.conversations.tokens import CountTokens, estimate_tokens
from context_store.conversations.turn_log import Place, TurnLog, place_of
from context_store.documents import encode
from schemas.branch import Branch
from schemas.conversation import Conversation, Turn
from schemas.errors import (
    AlreadyExists,
    BranchNotFound,
    Conflict,
    ConversationNotFound,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RevisionConflict,
)
from schemas.ids import check_name, new_id
from schemas.model import timestamp

if TYPE_CHECKING:
    from context_store.commits import Commits

CONVERSATIONS: Final = Collection("conversations", indexes=("updated_at", "forked_from"))

MAX_APPEND: Final = 1000
MAX_TURN_BYTES: Final = 1024 * 1024
_RETRIES: Final = 1000


class SearchHit(NamedTuple):
    """A turn that was found, and a conversation it was said in (others may have forked from it)."""

    conversation: str
    turn: Turn


class _Stored(NamedTuple):
    """``branch``: the record it is kept in, if that is a branch's."""

    conversation: Conversation
    chain: Chain
    revision: int
    branch: Stored | None = None

    def to_doc(self) -> Document:
        return self.conversation.model_dump(mode="json") | self.chain.to_doc()


class Conversations:
    """The conversations of one tenant.

    An append stores the turns at the next free place, then moves the head over them by compare-and-set. A place
    that is taken but not yet under the head belongs to an appender that is slow or dead: the next one
    moves the head over it first. So appends are in one order, nothing is lost, and nothing is there twice.

    A branch has a conversation, too, whose id is that of the branch behind an ``@``. Its head is kept in the record of
    the branch, where a commit moves it together with the files. The id of a conversation that a workspace was made
    with (`bind`) stands for that of its root branch.
    """

    def __init__(self, records: Records, log: TurnLog, branches: Commits) -> None:
        self._records = records
        self._log = log
        self._branches = branches
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self, title: str = "", *, metadata: Mapping[str, Any] | None = None, id: str | None = None
    ) -> Conversation:
        """An empty conversation. Raises `AlreadyExists` for an ``id`` that is taken."""
        id = check_name(id, "conversation") if id else new_id("conv")
        now = timestamp()
        conversation = Conversation(id=id, title=title, created_at=now, updated_at=now, metadata=dict(metadata or {}))
        await self._records.insert(id, _Stored(conversation, Chain((), id, 0), 0).to_doc())
        return conversation

    async def get(self, id: str) -> Conversation:
        """Raises `ConversationNotFound`."""
        return (await self._load(id)).conversation

    async def append(self, id: str, turns: Sequence[Turn], *, expected_head: str | None = None) -> Conversation:
        """Add turns at the end, all together; nothing comes between them.

        Depth, parent and time are filled in; a turn that names further parents (a join) keeps those. Without
        ``expected_head`` turns go behind whatever others appended; with it, raises `RevisionConflict` when
        the head is another (``""``: no turn yet). Turns whose ids are there already are not added again, so
        a repeated append is harmless; other content under the same id is `IdempotencyConflict`.
        """
        _check(turns)
        lock = self._locks.setdefault(id, asyncio.Lock())
        async with lock:  # for speed: appenders of this process queue up here instead of racing in the database
            for attempt in range(_RETRIES):
                stored = await self._load(id, writing=True)
                new = await self._unknown(stored, turns)
                if not new:
                    return stored.conversation
                if expected_head is not None and stored.conversation.head != expected_head:
                    raise _moved(stored.conversation, expected_head)
                placed = _placed(new, stored)
                try:
                    await self._log.add(stored.chain.line, placed)
                except AlreadyExists:
                    await self._help(stored)
                    await asyncio.sleep(random.random() * 0.001 * min(attempt, 20))
                    continue
                if done := await self._move_head(id, stored.chain.line, placed):
                    return done
        raise RevisionConflict(f"conversation {id!r} is appended to too fast: {_RETRIES} tries were overtaken")

    async def turns(self, id: str, *, limit: int = 1000, before: str | None = None) -> list[Turn]:
        """The last ``limit`` turns, oldest first; with ``before``, those that come before that turn.

        O(limit), however long the conversation is. Raises `NotFound` if ``before`` is no turn of it.
        """
        if limit < 1:
            raise InvalidInput(f"limit {limit}: use 1 or more")
        stored = await self._load(id)
        upto = None if before is None else (await self._place(stored, before)).depth - 1
        found: list[Turn] = []
        async for turn in self._log.newest_first(stored.chain, upto=upto):
            found.append(turn)
            if len(found) >= limit:
                break
        found.reverse()
        return found

    async def turn(self, id: str, turn: str) -> Turn:
        """One turn of a conversation. Raises `NotFound`."""
        return await self._log.read(await self._place(await self._load(id), turn))

    async def fork(
        self, id: str, *, at: str | None = None, title: str = "", metadata: Mapping[str, Any] | None = None
    ) -> Conversation:
        """A conversation that shares the turns up to ``at`` (default: all) and goes on separately; copies no turn."""
        source = await self._load(id)
        depth, head = source.chain.turns, source.conversation.head
        if at is not None:
            depth, head = (await self._place(source, at)).depth, at
        now = timestamp()
        fork = Conversation(
            id=new_id("conv"),
            title=title or source.conversation.title,
            head=head,
            turns=depth,
            forked_from=id,
            created_at=now,
            updated_at=now,
            metadata=dict(metadata or {}),
        )
        await self._records.insert(fork.id, _Stored(fork, source.chain.cut_at(depth, fork.id), 0).to_doc())
        return fork

    async def adopt(self, id: str, other: str, *, expected_head: str | None = None) -> Conversation:
        """Fast-forward to all turns of ``other``, which must go on from this one's head.

        The end of a race: the winner's turns become the conversation's. Raises `Conflict` when turns were added here
        since the fork (nothing is interleaved), `RevisionConflict` for another ``expected_head``.
        """
        winner = await self._load(other)
        while True:
            stored = await self._load(id, writing=True)
            here = stored.conversation
            if expected_head is not None and here.head not in (expected_head, winner.conversation.head):
                raise _moved(here, expected_head)
            if here.head == winner.conversation.head:
                return here
            if here.head and here.head not in await self._log.places([here.head], winner.chain):
                raise Conflict(f"conversation {other!r} does not go on from {id!r}: {id!r} has turns of its own since")
            # A new line: turns that a slow appender still puts into the old one are not under any head.
            chain = winner.chain.cut_at(winner.chain.turns, f"{id}.{stored.revision}")
            update = {"head": winner.conversation.head, "turns": winner.chain.turns, "updated_at": timestamp()}
            moved = _Stored(here.model_copy(update=update), chain, stored.revision, stored.branch)
            try:
                await self._replace(id, moved)
            except RevisionConflict:
                continue
            return moved.conversation

    async def bind(self, id: str, branch: Branch) -> tuple[Branch, int]:
        """``branch`` with the turns of conversation ``id``, and the revision they were read at, for `bound`.

        Raises `Conflict` when it is another workspace's already, `ConversationNotFound`.
        """
        stored = await self._load(id)
        if stored.branch is not None:
            raise Conflict(f"conversation {id!r} is that of branch {stored.branch.branch.id!r}", conversation=id)
        chain = stored.chain.cut_at(stored.chain.turns, line_of(branch.id))
        shared = pointing(branch.shared, chain, stored.conversation.head)
        return branch.model_copy(update={"conversation": id, "shared": shared, "base_shared": shared}), stored.revision

    async def bound(self, id: str, branch: str, revision: int) -> None:
        """From now on the id stands for the conversation of a branch. Raises `RevisionConflict` if it has moved."""
        record = await self._records.get(id)
        doc = record.doc if record is not None else {}
        await self._records.replace(id, {**doc, "branch": branch}, expected=revision)

    async def prompt(
        self,
        id: str,
        max_tokens: int,
        format: Literal["openai", "anthropic"] = "openai",
        *,
        count_tokens: CountTokens = estimate_tokens,
        summarise: prompt.Summarise | None = None,
        summary_tokens: int = 512,
    ) -> prompt.Prompt:
        """What of the conversation fits into ``max_tokens``, ready for a model's API; see `prompt.build`.

        Reads only the turns it gives and the pinned ones.
        """
        chain = (await self._load(id)).chain
        budget = prompt.Budget(max_tokens, count_tokens, summarise, summary_tokens)
        return await prompt.build(self._log, chain, format, budget)

    async def search(self, text: str, *, conversation: str | None = None, limit: int = 20) -> list[SearchHit]:
        """Turns in which every word occurs (anywhere, ignoring case), newest first.

        Looks at the first 64 Ki characters of each turn's text. Raises `InvalidInput` for a text without words.
        """
        if not text.split():
            raise InvalidInput("nothing to search for")
        chain = (await self._load(conversation)).chain if conversation is not None else None
        lines = chain.lines() if chain is not None else None
        hits: list[SearchHit] = []
        after: Record | None = None
        while page := await self._log.search(text, lines, after=after, limit=limit + 16):
            for record in page:
                hit = await self._hit(place_of(record), conversation, chain)
                if hit is not None:
                    hits.append(hit)
                if len(hits) == limit:
                    return hits
            after = page[-1]
        return hits

    async def list(self, *, limit: int = 100) -> list[Conversation]:
        """Up to ``limit`` conversations, the one appended to last first."""
        records = await self._records.find(order="-updated_at", limit=limit)
        return [
            await self.get(record.key) if record.doc.get("branch") else Conversation.model_validate(record.doc)
            for record in records
        ]

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _load(self, id: str, *, writing: bool = False) -> _Stored:
        """For ``writing`` a branch must be open, and loses the seal of a commit that is under way."""
        if id.startswith("@"):
            return await self._load_branch(id, writing)
        record = await self._records.get(id)
        if record is None:
            raise ConversationNotFound(f"no conversation {id!r}", conversation=id)
        if branch := record.doc.get("branch"):
            return await self._load_branch(line_of(branch), writing)
        return _Stored(Conversation.model_validate(record.doc), Chain.load(record.doc), record.revision)

    async def _load_branch(self, id: str, writing: bool) -> _Stored:
        try:
            found = await (self._branches.writable if writing else self._branches.settled)(id[1:])
        except BranchNotFound as error:
            raise ConversationNotFound(f"no conversation {id!r}: {error}", conversation=id) from error
        branch = found.branch
        if writing and branch.state != "open":
            raise ended(branch)
        conversation = Conversation(
            id=id,
            title=branch.name,
            head=branch.shared.turn,
            turns=branch.shared.turns,
            forked_from=line_of(branch.parent) if branch.parent else "",
            created_at=branch.created_at,
        )
        return _Stored(conversation, chain_of(branch.shared, id), found.revision, found)

    async def _replace(self, id: str, moved: _Stored) -> None:
        """Put it where it was loaded from, if that is still as it was. Raises `RevisionConflict`."""
        if moved.branch is None:
            await self._records.replace(id, moved.to_doc(), expected=moved.revision)
            return
        branch = moved.branch.branch
        shared = pointing(branch.shared, moved.chain, moved.conversation.head)
        await self._branches.replace(moved.branch, branch.model_copy(update={"shared": shared}))

    async def _place(self, stored: _Stored, turn: str) -> Place:
        places = await self._log.places([turn], stored.chain)
        if turn not in places:
            id = stored.conversation.id
            raise NotFound(f"conversation {id!r} has no turn {turn!r}", conversation=id, turn=turn)
        return places[turn]

    async def _unknown(self, stored: _Stored, turns: Sequence[Turn]) -> Sequence[Turn]:
        """Those of the turns that are not there yet. Raises `IdempotencyConflict`."""
        places = await self._log.places([turn.id for turn in turns], stored.chain)
        for turn in turns:
            if turn.id in places and _content(await self._log.read(places[turn.id])) != _content(turn):
                raise IdempotencyConflict(f"turn {turn.id!r} is there already, with other content", turn=turn.id)
        return [turn for turn in turns if turn.id not in places]

    async def _help(self, stored: _Stored) -> None:
        """Move the head over a batch that its appender has not, or not yet, moved it over."""
        line, depth = stored.chain.line, stored.chain.turns + 1
        if batch := await self._log.batch_at(line, depth):
            await self._move_head(stored.conversation.id, line, batch)

    async def _move_head(self, id: str, line: str, batch: Sequence[Turn]) -> Conversation | None:
        """Index the batch and put the head on its last turn; ``None`` if the conversation has left this line."""
        await self._log.index(line, batch)
        last = batch[-1]
        while True:
            stored = await self._load(id, writing=True)
            if stored.chain.line != line:
                return None
            if stored.chain.turns >= last.depth:
                return stored.conversation  # somebody helped
            update = {"head": last.id, "turns": last.depth, "updated_at": timestamp()}
            moved = _Stored(
                stored.conversation.model_copy(update=update),
                Chain(stored.chain.past, line, last.depth),
                stored.revision,
                stored.branch,
            )
            try:
                await self._replace(id, moved)
            except RevisionConflict:
                continue
            return moved.conversation

    async def _hit(self, place: Place, conversation: str | None, chain: Chain | None) -> SearchHit | None:
        """The turn at a place, if the conversation has it; not so for one that is stored but not under a head."""
        owner = conversation or place.line.partition(".")[0]  # a line is named after the conversation it was made for
        if chain is None:
            try:
                chain = (await self._load(owner)).chain
            except ConversationNotFound:
                return None
        if not chain.contains(place.line, place.depth):
            return None
        return SearchHit(owner, await self._log.read(place))


def _check(turns: Sequence[Turn]) -> None:
    if not 1 <= len(turns) <= MAX_APPEND:
        raise InvalidInput(f"{len(turns)} turns: append 1 to {MAX_APPEND} at once")
    if len({turn.id for turn in turns}) != len(turns):
        raise InvalidInput("the same turn id twice in one append")
    for turn in turns:
        size = len(encode(turn.wire()))
        if size > MAX_TURN_BYTES:
            raise PayloadTooLarge(
                f"turn {turn.id!r}: {size} bytes, {MAX_TURN_BYTES} are allowed; put large content into a blob part",
                size_bytes=size,
                limit_bytes=MAX_TURN_BYTES,
            )


def _placed(turns: Sequence[Turn], stored: _Stored) -> Sequence[Turn]:
    """The turns with depth, parents and time, to go behind the head."""
    parent, now = stored.conversation.head, timestamp()
    placed = []
    for depth, turn in enumerate(turns, stored.chain.turns + 1):
        others = [p for p in turn.parents if p != parent] if len(turn.parents) > 1 else []
        update: Document = {"depth": depth, "parents": [*([parent] if parent else []), *others]}
        if not turn.created_at:
            update["created_at"] = now
        placed.append(turn.model_copy(update=update))
        parent = turn.id
    return placed


def _content(turn: Turn) -> Document:
    """What the sender said, without what the store fills in."""
    return turn.model_dump(mode="json", exclude={"depth", "parents", "created_at"})


def _moved(conversation: Conversation, expected: str) -> RevisionConflict:
    return RevisionConflict(
        f"conversation {conversation.id!r} has its head at {conversation.head!r}, not {expected!r}",
        conversation=conversation.id,
        expected=expected,
        actual=conversation.head,
    )
