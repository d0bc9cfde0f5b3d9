"""The stream of changes of key-values: level-triggered, so a lost wake-up costs latency and never a change."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

import structlog

from context_store.wakeups import Wakeups
from schemas.errors import Unavailable
from schemas.keyvalue import Entry

_log = structlog.get_logger(__name__)


class Watch:
    """Async iterator over entries; ends when it, or the store, is closed. One consumer.

    Each look compares what is stored with what was given out before, so it costs O(keys with the prefix); it is
    skipped when the database says that nothing has changed. Cancelling the consumer loses nothing.
    """

    def __init__(
        self,
        states: Callable[[str], AsyncIterator[tuple[Entry, bool]]],
        expire: Callable[[Entry], Awaitable[None]],
        wakeups: Wakeups,
        changes: Callable[[], Awaitable[object | None]],
        prefix: str,
        clock: Callable[[], float],
        poll_s: float,
    ) -> None:
        self._states = states
        self._expire = expire
        self._wakeups = wakeups
        self._changes = changes
        self._prefix = prefix
        self._clock = clock
        self._poll_s = poll_s
        self._event = wakeups.subscribe()
        self._event.set()
        self._given: dict[str, int] = {}  # key → revision last given out; deleted keys too
        self._alive: dict[str, float | None] = {}  # key → when it expires
        self._ready: deque[Entry] = deque()
        self._token: object | None = None
        self._first = True
        self._outage = False
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        while not self._ready:
            if self._closed or self._wakeups.closed:
                await self.aclose()
                raise StopAsyncIteration
            await self._wait()
            await self._look()
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Stop; a consumer that waits ends. May be called twice."""
        self._closed = True
        self._event.set()
        self._wakeups.unsubscribe(self._event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _wait(self) -> None:
        """Until a wake-up, the next poll, or the next expiry."""
        expiries = [at for at in self._alive.values() if at is not None]
        pause = max(0.0, min([self._poll_s, *(at - self._clock() for at in expiries)]))
        if self._outage:
            pause = self._poll_s
        try:
            async with asyncio.timeout(pause):
                await self._event.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        if self._closed:
            return
        self._event.clear()
        try:
            token = await self._changes()  # before the read: a change in between is seen again next time
            if token is not None and token == self._token and not self._due():
                return
            entries = await self._read()
        except Unavailable as error:
            if not self._wakeups.closed and not self._outage:
                self._outage = True
                _log.warning("keyvalues.watch_interrupted", prefix=self._prefix, error=error.message)
            return
        if self._outage:
            self._outage = False
            _log.info("keyvalues.watch_resumed", prefix=self._prefix)
        self._token = token
        self._note(entries)

    def _due(self) -> bool:
        now = self._clock()
        return any(at is not None and at <= now for at in self._alive.values())

    async def _read(self) -> list[tuple[Entry, bool]]:
        """Everything stored, and whether it has expired. Those are made tombstones, which the next look gives out."""
        found: list[tuple[Entry, bool]] = []
        async for entry, expired in self._states(self._prefix):
            if expired:
                await self._expire(entry)
                self._event.set()
            found.append((entry, expired))
        return found

    def _note(self, found: list[tuple[Entry, bool]]) -> None:
        seen = set()
        for entry, expired in found:
            seen.add(entry.key)
            if expired:
                continue
            if self._given.get(entry.key, 0) < entry.revision:
                self._given[entry.key] = entry.revision
                if not (self._first and entry.deleted):
                    self._ready.append(entry)
            if entry.deleted:
                self._alive.pop(entry.key, None)
            else:
                self._alive[entry.key] = entry.expires_at
        for key in self._given.keys() - seen:  # deleted and purged while we did not look
            revision = self._given.pop(key) + 1
            if key in self._alive:
                del self._alive[key]
                self._ready.append(Entry(key=key, revision=revision, updated_at=self._clock(), deleted=True))
        self._first = False
