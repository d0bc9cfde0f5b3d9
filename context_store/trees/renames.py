"""Which of the deleted files is which of the added ones, found as git's merge finds it.

Equal content first; then a name that occurs once on both sides, if three quarters are alike; then the most alike
pair, the next, and so on, down to one half. Empty files are no one's, and files above 1 MiB, or more than
10,000 possible pairs, are compared by hash only.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from context_store.trees.diff3 import MAX_BYTES
from context_store.trees.objects import TreeObjects
from context_store.trees.similarity import ALIKE, Pieces, may_be_alike, pieces, similarity
from schemas.tree import Change, TreeEntry

_SAME_NAME: Final = 0.75
_MAX_PAIRS: Final = 10_000
_BATCH: Final = 16

Found = dict[str, TreeEntry]


def removed(changes: Iterable[Change]) -> Found:
    """Files and links that are not at their path any more."""
    return {
        c.path: c.before
        for c in changes
        if c.before is not None and c.before.kind != "dir" and (c.after is None or c.after.kind != c.before.kind)
    }


def appeared(changes: Iterable[Change]) -> Found:
    """Files and links at paths where there was none."""
    return {
        c.path: c.after
        for c in changes
        if c.after is not None and c.after.kind != "dir" and (c.before is None or c.before.kind == "dir")
    }


async def with_renames(trees: TreeObjects, changes: list[Change]) -> list[Change]:
    """``changes`` with each pair of a removed and an added file that are one made one ``renamed``."""
    found = await Renames(trees, removed(changes), appeared(changes)).find()
    if not found:
        return changes
    before = {c.path: c for c in changes}
    joined = {new: before[old] for old, new in found.items()}
    kept: list[Change] = []
    for change in changes:
        if (source := joined.get(change.path)) is not None:
            kept.append(
                Change(
                    path=change.path,
                    kind="renamed",
                    before=source.before,
                    after=change.after,
                    from_path=source.path,
                )
            )
        elif change.path not in found or change.after is not None:
            kept.append(change)
    return kept


class Renames:
    """One search among the files that went and those that came, between the same two trees."""

    def __init__(self, trees: TreeObjects, gone: Found, new: Found) -> None:
        self._trees = trees
        self._gone = {path: entry for path, entry in gone.items() if entry.size}
        self._new = {path: entry for path, entry in new.items() if entry.size}
        self._pieces: dict[str, Pieces] = {}
        self._found: dict[str, str] = {}

    async def find(self, gone: Collection[str] | None = None, new: Collection[str] = ()) -> dict[str, str]:
        """Old path → new path.

        With ``gone``, contents are compared only for pairs whose old path is in it, or whose new one is in ``new``;
        equal hashes are found for all.
        """
        if not self._gone or not self._new:
            return {}
        self._same_content()
        wanted = (set(self._gone) if gone is None else set(gone), set(new))
        await self._same_name(*wanted)
        await self._most_alike(*wanted)
        return self._found

    def _match(self, old: str, new: str) -> None:
        self._found[old] = new
        del self._gone[old], self._new[new]

    def _same_content(self) -> None:
        sources: dict[tuple[str, str], list[str]] = defaultdict(list)
        for path, entry in sorted(self._gone.items()):
            sources[entry.kind, entry.hash].append(path)
        for path, entry in sorted(self._new.items()):
            candidates = sources.get((entry.kind, entry.hash))
            if candidates:
                old = next((c for c in candidates if _name(c) == _name(path)), candidates[0])
                candidates.remove(old)
                self._match(old, path)

    async def _same_name(self, gone: set[str], new: set[str]) -> None:
        old_names, new_names = _unique_names(self._gone), _unique_names(self._new)
        pairs = [
            (old, new_names[name])
            for name, old in old_names.items()
            if name in new_names and (old in gone or new_names[name] in new)
        ]
        for score, old, target in await self._scores(pairs, _SAME_NAME):
            if score >= _SAME_NAME:
                self._match(old, target)

    async def _most_alike(self, gone: set[str], new: set[str]) -> None:
        pairs = [(old, target) for target in self._new for old in self._gone if old in gone or target in new]
        if len(pairs) > _MAX_PAIRS:
            return
        scored = [(score, _name(old) == _name(to), old, to) for score, old, to in await self._scores(pairs, ALIKE)]
        scored.sort(key=lambda pair: (-pair[0], not pair[1], pair[3], pair[2]))
        for score, _, old, target in scored:
            if score >= ALIKE and old in self._gone and target in self._new:
                self._match(old, target)

    async def _scores(self, pairs: list[tuple[str, str]], at_least: float) -> list[tuple[float, str, str]]:
        """The pairs that may be alike at all, with how much they are."""
        possible = [
            (a, b) for a, b in pairs if _comparable(a_entry := self._gone[a]) and _comparable(b_entry := self._new[b])
            and may_be_alike(a_entry.size, b_entry.size, at_least)
        ]  # fmt: skip
        entries = [self._gone[a] for a, _ in possible] + [self._new[b] for _, b in possible]
        await self._read(list(dict.fromkeys(e.hash for e in entries if e.hash not in self._pieces)))
        return await asyncio.to_thread(self._score, possible)

    def _score(self, pairs: list[tuple[str, str]]) -> list[tuple[float, str, str]]:
        found = []
        for old, new in pairs:
            a, b = self._gone[old], self._new[new]
            found.append((similarity(self._pieces[a.hash], a.size, self._pieces[b.hash], b.size), old, new))
        return found

    async def _read(self, hashes: list[str]) -> None:
        """Keeps the pieces; the bytes of at most sixteen files are in memory at a time."""
        for start in range(0, len(hashes), _BATCH):
            batch = hashes[start : start + _BATCH]
            contents = await self._trees.blobs.get_many(batch)
            self._pieces.update(zip(batch, await asyncio.to_thread(_bags, contents), strict=True))


def _bags(contents: list[bytes]) -> list[Pieces]:
    return [pieces(data) for data in contents]


def _comparable(entry: TreeEntry) -> bool:
    return entry.kind == "file" and entry.size <= MAX_BYTES


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _unique_names(paths: Mapping[str, object]) -> dict[str, str]:
    """Last name → path, for names that occur once."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[_name(path)].append(path)
    return {name: found[0] for name, found in by_name.items() if len(found) == 1}
