"""One browser: a bounded queue of frames that are shared by all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Frame:
    """Encoded once, sent to every viewer as it is."""

    text: str
    rows: int = 0  # traffic rows in it: what a viewer misses when it is dropped


class Viewer:
    """What waits to be sent to one browser.

    `offer` never waits. When the queue is full everything in it is dropped, and the viewer is given a note of
    how much it missed and a snapshot: it is then as fresh as any other.
    """

    def __init__(self, snapshot: Callable[[], Frame], frames_waiting: int) -> None:
        self._snapshot = snapshot
        self._bound = frames_waiting
        self._waiting: deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._stale = True
        self._missed_frames = self._missed_rows = 0
        self._wake.set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def offer(self, frame: Frame) -> None:
        if self._stale:  # the snapshot it is going to get has this one in it
            return
        if len(self._waiting) >= self._bound:
            self._missed_frames += len(self._waiting) + 1
            self._missed_rows += sum(f.rows for f in self._waiting) + frame.rows
            self.resync()
            return
        self._waiting.append(frame)
        self._wake.set()

    def resync(self) -> None:
        """Forget the queue: the next frame is a snapshot."""
        self._waiting.clear()
        self._stale = True
        self._wake.set()

    async def next(self) -> str:
        """The next frame to send, in order. Safe to cancel: nothing is lost."""
        while not self._stale and not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        if self._missed_frames:
            note = {"type": "missed", "frames": self._missed_frames, "rows": self._missed_rows}
            self._missed_frames = self._missed_rows = 0
            return msgspec.json.encode(note).decode()
        if self._stale:
            self._stale = False
            return self._snapshot().text
        return self._waiting.popleft().text
