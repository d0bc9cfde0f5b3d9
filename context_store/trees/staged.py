"""Trees that are made in memory and stored in one trip, when it is known that they are wanted."""

from __future__ import annotations

from collections.abc import Iterable

from context_store.trees.entries import Entries
from context_store.trees.objects import TreeObjects
from schemas.tree import blob_hash


class StagedTrees(TreeObjects):
    """Reads what is stored and what was made here; writes nothing before `flush`."""

    def __init__(self, trees: TreeObjects) -> None:
        super().__init__(trees.blobs)
        self._stored = trees
        self._made: dict[str, Entries] = {}
        self._bytes: dict[str, bytes] = {}

    async def read_many(self, trees: Iterable[str]) -> dict[str, Entries]:
        wanted = list(trees)
        made = {tree: self._made[tree] for tree in wanted if tree in self._made}
        if len(made) == len(wanted):
            return made
        return {**await self._stored.read_many(tree for tree in wanted if tree not in made), **made}

    def put(self, data: bytes) -> str:
        """Keep the bytes of a file; their hash."""
        digest = blob_hash(data)
        self._bytes[digest] = data
        return digest

    async def flush(self, tree: str) -> str:
        """Store ``tree`` with whatever of it was made here; the rest is forgotten. Returns ``tree``."""
        wanted: dict[str, bytes] = {}
        level = [tree]
        while level:
            below: list[str] = []
            for digest in level:
                if digest in self._bytes and digest not in wanted:
                    wanted[digest] = self._bytes[digest]
                    entries = self._made.get(digest, {}).values()
                    below += (entry.hash for entry in entries if entry.hash in self._bytes)
            level = below
        if wanted:
            # What is in a directory before the directory: nobody can find a tree that is not whole.
            await self.blobs.put_many(list(reversed(wanted.values())))
        for digest in wanted:
            if digest in self._made:
                self._stored._remember(digest, self._made[digest])
        self._made, self._bytes = {}, {}
        return tree

    async def _store(self, blobs: list[bytes]) -> list[str]:
        return [self.put(data) for data in blobs]

    def _remember(self, tree: str, entries: Entries) -> None:
        self._made[tree] = entries
