"""Which delivered messages may start, and how many more to ask for: caution after a crash, full speed otherwise.

An earlier process of this box may have died with messages in hand. The server gives them out again only after
``ack_wait_s``, and not always in order; newer mail of the same sender could overtake them. So until they have come, or
cannot come any more, new mail is parked and old mail starts in stream order per sender. And one of them may be what
killed the process: redelivered messages are fetched in small steps, suspicious ones one by one, so that only the guilty
one collects deliveries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from box_agent.bus.lanes import Held, Lanes

_PARKED_NEW = 64
_STEP = 16
_SUSPECT_DELIVERIES = 3


class Admission:
    """Between the pull loop and the lanes. Starts in full speed; `attach` switches to caution."""

    def __init__(self, lanes: Lanes, prefetch: int) -> None:
        self._lanes = lanes
        self._prefetch = prefetch
        self._old: dict[int, Held] = {}
        self._new: list[Held] = []
        self._due: dict[str, deque[int]] = {}
        self._first: dict[str, int] = {}
        self._came: set[int] = set()
        self._awaited = 0
        self._floor = 0
        self._until = 0.0
        self._suspect = False
        self.holding = False

    def attach(self, pending: int, floor: int, wait_s: float, due: Iterable[tuple[int, str]]) -> None:
        """``pending`` messages up to sequence ``floor`` were in hand when we came; wait so long for them.

        ``due``: the sequences and senders of those that are not known to be acknowledged, in stream order.
        """
        if pending <= 0:
            return
        self.holding = self._suspect = True
        self._awaited = pending
        self._floor = floor
        self._until = asyncio.get_running_loop().time() + wait_s
        for sequence, sender in due:
            self._due.setdefault(sender, deque()).append(sequence)
        self._first = {sender: sequences[0] for sender, sequences in self._due.items()}

    @property
    def overdue(self) -> bool:
        """What was pending when we came has been given up by whoever had it: the next request would bring it."""
        return self.holding and asyncio.get_running_loop().time() >= self._until

    def arrived(self, item: Held) -> None:
        """A message to be handled; `settled` follows."""
        self._suspect = item.delivered.deliveries >= _SUSPECT_DELIVERIES
        if not self.holding:
            self._lanes.start(item)
        elif item.delivered.sequence <= self._floor:
            sequence = item.delivered.sequence
            # a lane is serial: what has older unacknowledged mail before it was never begun, however often delivered
            item.untried = self._first.get(item.received.sender, sequence) != sequence
            self._old[sequence] = item
        else:
            overdue = self.overdue
            self._new.append(item)
            if overdue:  # the server gives out old mail first, so there is none left
                self.release()

    def settled(self, sequence: int, sender: str) -> None:
        """A delivery came and was dealt with: parked, started, or recognised as nothing to handle."""
        if not self.holding or sequence > self._floor or sequence in self._came:
            return
        self._came.add(sequence)
        self._awaited -= 1
        if self._awaited <= 0:
            self.release()
        else:
            self._start_in_order(sender)

    def release(self) -> None:
        """Start whatever is parked, in stream order, behind what came before."""
        self.holding = False
        parked = [*self._old.values(), *self._new]
        self._old.clear()
        self._new.clear()
        self._due.clear()
        self._came.clear()
        for item in sorted(parked, key=lambda held: held.delivered.sequence):
            self._lanes.start(item)

    def room(self) -> int:
        """How many more messages to ask for now."""
        held = len(self._lanes.held)
        if self.holding:
            active = held - len(self._old) - len(self._new)
            if active > 0 or (len(self._new) >= _PARKED_NEW and not self.overdue):
                return 0
            return 1 if self._suspect else _STEP
        if self._suspect and held > 0:
            return 0
        return self._prefetch - held if held <= self._prefetch // 2 else 0

    def _start_in_order(self, sender: str) -> None:
        """Start old mail of one sender as far as none before it is still to come."""
        due = self._due.get(sender)
        while due and due[0] in self._came:
            item = self._old.pop(due.popleft(), None)
            if item is not None:
                self._lanes.start(item)
