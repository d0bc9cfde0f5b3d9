"""Which delivered messages may start, and how many more to ask for: caution after a crash, full speed otherwise.

An earlier process of this box may have died with messages in hand. They come again only after ``ack_wait_s``, so newer
mail of the same sender could overtake them: until they have come, or cannot come any more, new mail is parked. And one
of them may be what killed the process: redelivered messages are fetched in small steps, suspicious ones one by one,
so that only the guilty one collects deliveries.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from box_agent.bus.lanes import Held, Lanes

_PARKED = 64
_STEP = 16
_SUSPECT_DELIVERIES = 3


class Admission:
    """Between the pull loop and the lanes. Starts in full speed; `attach` switches to caution."""

    def __init__(self, lanes: Lanes, prefetch: int) -> None:
        self._lanes = lanes
        self._prefetch = prefetch
        self._parked: list[Held] = []
        self._awaited: int = 0
        self._seen: set[int] = set()
        self._floor = 0
        self._until = 0.0
        self._suspect = True
        self.holding = False

    def attach(self, pending: int, floor: int, wait_s: float) -> None:
        """``pending`` messages up to sequence ``floor`` were in hand when we came; wait so long for them."""
        if pending > 0:
            self.holding = True
            self._awaited = pending
            self._floor = floor
            self._until = asyncio.get_running_loop().time() + wait_s

    @property
    def overdue(self) -> bool:
        """What was pending when we came has been given up by whoever had it: the next request would bring it."""
        return self.holding and asyncio.get_running_loop().time() >= self._until

    def settled(self, sequence: int) -> None:
        """A delivery came and was dealt with: started, parked, or recognised as a duplicate."""
        if self.holding and sequence <= self._floor and sequence not in self._seen:
            self._seen.add(sequence)
            self._awaited -= 1
            if self._awaited <= 0:
                self.release()

    def arrived(self, item: Held) -> None:
        self._suspect = item.delivered.deliveries >= _SUSPECT_DELIVERIES
        if not self.holding or item.delivered.sequence <= self._floor:
            self._lanes.start(item)
            return
        overdue = self.overdue
        self._parked.append(item)
        if overdue:  # the server gives out old mail first, so there is none left
            self.release()

    def release(self) -> None:
        """Start what was parked, in stream order, behind what came before."""
        self.holding = False
        self._seen.clear()
        parked, self._parked = self._parked, []
        for item in sorted(parked, key=lambda held: held.delivered.sequence):
            self._lanes.start(item)

    def room(self) -> int:
        """How many more messages to ask for now."""
        held = len(self._lanes.held)
        if not self.holding:
            return self._prefetch - held if held <= self._prefetch // 2 else 0
        active = held - len(self._parked)
        if active > 0 or (len(self._parked) >= _PARKED and not self.overdue):
            return 0
        return 1 if self._suspect else _STEP
