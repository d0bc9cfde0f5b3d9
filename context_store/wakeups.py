"""Wake-ups inside one process: a writer tells the watchers of the same tenant that something changed."""

from __future__ import annotations

import asyncio


class Wakeups:
    """A wake-up is a hint: it may come without a change, and a waiter that was busy gets several as one."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def subscribe(self) -> asyncio.Event:
        """An event that every wake-up sets, until `unsubscribe`."""
        event = asyncio.Event()
        if self._closed:
            event.set()
        self._waiting.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        self._waiting.discard(event)

    def notify(self) -> None:
        for event in self._waiting:
            event.set()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self._closed = True
        self.notify()
