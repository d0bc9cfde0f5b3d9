"""A bound on what runs at once; taking a free place costs no coroutine."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """``limit`` places. `take` waits in line; whoever took one gives it back."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._line: deque[asyncio.Future[None]] = deque()

    def take_now(self) -> bool:
        """A place, if one is free."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def take(self) -> None:
        """Cancelled while waiting, it holds no place."""
        if self.take_now():
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give()  # it was handed over at the same moment
            raise

    def give(self) -> None:
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
