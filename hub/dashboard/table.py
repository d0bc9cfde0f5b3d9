"""Rows by id that know what changed since the last frame."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Row = dict[str, Any]


class Table(Generic[Item]):
    """The newest row of each item, absolute values.

    ``signature`` is cheap and says whether an item differs in what the page shows; ``row`` is called only then.
    A box that merely beats its heart changes nothing, so it costs a comparison and no bytes. ``age`` grows with
    every version of an item: a version older than the one that is there is ignored, as it came late.
    """

    def __init__(
        self,
        *,
        key: Callable[[Item], str],
        signature: Callable[[Item], Hashable],
        row: Callable[[Item], Row],
        age: Callable[[Item], float] = lambda _: 0.0,
    ) -> None:
        self._key, self._signature, self._row, self._age = key, signature, row, age
        self._signatures: dict[str, Hashable] = {}
        self._ages: dict[str, float] = {}
        self._put: set[str] = set()  # keys put while a list is being read
        self._changes: dict[str, Row | None] = {}
        self.rows: dict[str, Row] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, item: Item) -> None:
        """Add or update one row."""
        key = self._key(item)
        self._put.add(key)
        self._set(key, item)

    def drop(self, key: str) -> None:
        """Remove one row; harmless when it is not there."""
        if self.rows.pop(key, None) is not None:
            del self._signatures[key], self._ages[key]
            self._changes[key] = None

    @contextmanager
    def replacing(self) -> Iterator[list[Item]]:
        """Collect a list that takes time to read; at the end the table holds exactly what is in it.

        What was put meanwhile stays: the list may have been read before it was there.
        """
        self._put.clear()
        items: list[Item] = []
        yield items
        found = {self._key(item): item for item in items}
        for key, item in found.items():
            self._set(key, item)
        for key in self.rows.keys() - found.keys() - self._put:
            self.drop(key)

    def take_changes(self) -> dict[str, Row | None]:
        """Newest row of everything that changed since the last call; ``None`` for what is gone."""
        changes, self._changes = self._changes, {}
        return changes

    def _set(self, key: str, item: Item) -> None:
        age, signature = self._age(item), self._signature(item)
        if self._signatures.get(key) != signature and age >= self._ages.get(key, age):
            self._ages[key] = age
            self._signatures[key] = signature
            self.rows[key] = self._changes[key] = self._row(item)
