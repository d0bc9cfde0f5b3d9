"""Which delivered messages may start, and how many more to ask for: waiting after a crash or a cut, else full speed.

An earlier process of this box may have died with messages in hand. The server gives them out again only after
``ack_wait_s``, and not always in order; newer mail of the same sender could overtake them. So until they have come, or
cannot come any more, new mail is parked and old mail starts in stream order per sender. And one of them may be what
killed the process: redelivered messages are fetched in small steps, suspicious ones one by one, so that only the guilty
one collects deliveries.

A cut connection loses what the server had sent and nobody had read. That, too, comes again only after ``ack_wait_s``.
Newer mail of the same senders waits for it; nobody else's does, and nothing is suspected.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from box_agent.bus.lanes import Held, Lanes

_PARKED_NEW = 64
_STEP = 16
_SUSPECT_DELIVERIES = 3


class Admission:
    """Between the pull loop and the lanes. Starts in full speed; `attach` and `reattach` make mail wait for older mail.

    `pause` makes everything wait until it is known what was lost: `reattach`, if anything, and `resume`.
    """

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
        self._cautious = False
        self._everyone = False  # new mail of every sender waits, not only of those with mail due
        self._arrived_paused: list[Held] = []
        self._settled_paused: list[tuple[int, str]] = []
        self.holding = False
        """Some mail waits for older mail that is still to come."""
        self.paused = False

    def attach(self, pending: int, floor: int, until: float, due: Iterable[tuple[int, str]]) -> None:
        """``pending`` messages up to sequence ``floor`` were in hand when we came; wait for them until that loop time.

        ``due``: the sequences and senders of those that are not known to be acknowledged, in stream order.
        """
        self.holding = self._suspect = self._cautious = self._everyone = True
        self._awaited = pending
        self._floor = floor
        self._until = until
        for sequence, sender in due:
            self._due.setdefault(sender, deque()).append(sequence)
        self._first = {sender: sequences[0] for sender, sequences in self._due.items()}

    def pause(self) -> None:
        """Something may be lost: nothing that arrives from now on starts, and nothing is asked for."""
        self.paused = True

    def reattach(
        self,
        pending: int,
        floor: int,
        until: float,
        missing: Iterable[tuple[int, str]],
        known: Set[int],
        *,
        everyone: bool,
    ) -> None:
        """At most ``pending`` of the ``missing`` messages, up to ``floor``, are lost and come again by ``until``.

        ``known`` are the sequences that were handled or are in hand. ``everyone``: more may be lost, of any sender.
        """
        due = {sequence for sequences in self._due.values() for sequence in sequences}
        lost = [(sequence, sender) for sequence, sender in missing if sequence not in due]
        awaited = min(pending - self._awaited, len(lost))
        if awaited <= 0:
            return
        self.holding = True
        self._awaited += awaited
        self._floor = max(self._floor, floor)
        self._until = max(self._until, until)
        self._everyone = self._everyone or everyone
        self._came |= known
        parked = [item for item in self._new if item.delivered.sequence <= self._floor]
        self._new = [item for item in self._new if item.delivered.sequence > self._floor]
        self._old.update((item.delivered.sequence, item) for item in parked)
        waiting = [item for item in self._arrived_paused if item.delivered.sequence <= self._floor]
        here = [(item.delivered.sequence, item.received.sender) for item in (*parked, *waiting)]
        for sequence, sender in (*lost, *here):
            self._due.setdefault(sender, deque()).append(sequence)
        for sender, sequences in self._due.items():
            self._due[sender] = deque(sorted(sequences))

    def resume(self) -> None:
        """Admit what arrived meanwhile."""
        self.paused = False
        arrived, self._arrived_paused = self._arrived_paused, []
        settled, self._settled_paused = self._settled_paused, []
        for item in arrived:
            self.arrived(item)
        for sequence, sender in settled:
            self.settled(sequence, sender)
        for sender in list(self._due):
            self._start_in_order(sender)

    @property
    def overdue(self) -> bool:
        """What was pending when we came has been given up by whoever had it: the next request would bring it."""
        return self.holding and asyncio.get_running_loop().time() >= self._until

    def arrived(self, item: Held) -> None:
        """A message to be handled; `settled` follows."""
        if self.paused:
            self._arrived_paused.append(item)
            return
        sequence, sender = item.delivered.sequence, item.received.sender
        self._suspect = item.delivered.deliveries >= _SUSPECT_DELIVERIES
        if not self.holding:
            self._lanes.start(item)
        elif sequence > self._floor and self.overdue:  # the server gives out old mail first, so there is none left
            self._new.append(item)
            self.release()
        elif not self._everyone and not self._due.get(sender):
            self._lanes.start(item)
        elif sequence <= self._floor:
            # a lane is serial: what has older unacknowledged mail before it was never begun, however often delivered
            item.untried = self._first.get(sender, sequence) != sequence
            self._old[sequence] = item
        else:
            self._new.append(item)

    def settled(self, sequence: int, sender: str) -> None:
        """A delivery came and was dealt with: parked, started, or recognised as nothing to handle."""
        if self.paused:
            self._settled_paused.append((sequence, sender))
            return
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
        self.holding = self._cautious = self._everyone = False
        self._awaited = 0
        parked = [*self._old.values(), *self._new]
        self._old.clear()
        self._new.clear()
        self._due.clear()
        self._first.clear()
        self._came.clear()
        self._start_sorted(parked)

    def room(self) -> int:
        """How many more messages to ask for now."""
        if self.paused:
            return 0
        held = len(self._lanes.held)
        room = self._prefetch - held if held <= self._prefetch // 2 else 0
        if self.holding:
            overdue = self.overdue
            if len(self._new) >= _PARKED_NEW and not overdue:
                return 0
            if self._cautious:
                active = held - len(self._old) - len(self._new)
                return 0 if active > 0 else 1 if self._suspect else _STEP
            return max(room, _STEP) if overdue else room
        return 0 if self._suspect and held > 0 else room

    def _start_in_order(self, sender: str) -> None:
        """Start old mail of one sender as far as none before it is still to come."""
        due = self._due.get(sender)
        while due and due[0] in self._came:
            item = self._old.pop(due.popleft(), None)
            if item is not None:
                self._lanes.start(item)
        if not due and not self._everyone:
            free = [item for item in self._new if item.received.sender == sender]
            self._new = [item for item in self._new if item.received.sender != sender]
            self._start_sorted(free)

    def _start_sorted(self, items: Iterable[Held]) -> None:
        for item in sorted(items, key=lambda held: held.delivered.sequence):
            self._lanes.start(item)
