"""Feeds of what changed, one bounded queue per reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from hub.registry.presence import Change

MISSED: Final = None
"""What a reader gets once in place of the changes it was too slow for: read everything again."""


class Feed:
    """One reader's queue. Iterate over it; close it when done. When it overflows it says `MISSED` and starts anew."""

    def __init__(self, changes: Changes, limit: int) -> None:
        self._changes = changes
        self._limit = limit
        self._waiting: deque[Change | None] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    def push(self, change: Change) -> None:
        if len(self._waiting) >= self._limit:
            self._waiting.clear()
            self._waiting.append(MISSED)
        self._waiting.append(change)
        self._arrived.set()

    def close(self) -> None:
        """End the iteration once what waits has been read. Harmless twice."""
        self._closed = True
        self._changes.forget(self)
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Change | None]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Changes:
    """Passes changes on to callbacks (at once) and to feeds (through their queues)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._feeds: set[Feed] = set()
        self._callbacks: list[Callable[[Change], None]] = []

    def feed(self) -> Feed:
        """Changes from now on: ``with changes.feed() as feed: async for change in feed``."""
        feed = Feed(self, self._limit)
        self._feeds.add(feed)
        return feed

    def forget(self, feed: Feed) -> None:
        self._feeds.discard(feed)

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``callback`` with every change; it must be quick. Gives a function that ends it."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def announce(self, changes: Iterable[Change]) -> None:
        for change in changes:
            for callback in list(self._callbacks):
                callback(change)
            for feed in list(self._feeds):
                feed.push(change)

    def close(self) -> None:
        for feed in list(self._feeds):
            feed.close()
