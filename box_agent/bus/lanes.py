"""Delivery: what happens to a stored message between its arrival and its acknowledgement.

One lane per sender: serial within, several lanes at once. A handler that fails is tried again with backoff while its
lane waits, so the order per sender holds; after ``max_deliver`` tries the message becomes a dead letter, stored before
the original is acknowledged. Everything held is kept alive by in-progress beats. A message is acknowledged after its
handler returned; a duplicate is acknowledged and never handed over.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from box_agent.bus import trace
from box_agent.bus.invocation import failure_info
from box_agent.bus.received import Stored
from box_agent.bus.slots import Slots
from schemas.errors import BoxhubError, BusUnavailable, ErrorInfo, HandlerFailed

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection
    from box_agent.bus.pull import Delivered

_DEAD_LETTER_PAUSE_S = 1.0


class Undertaker(Protocol):
    """Stores dead letters."""

    async def bury(self, item: Held, cause: ErrorInfo, causes: list[ErrorInfo]) -> None:
        """Returns when it is stored. Raises `BusUnavailable`."""
        ...


class Held:
    """A message in hand, from its arrival until it is acknowledged."""

    __slots__ = ("delivered", "failures", "key", "received", "replies", "untried")

    def __init__(self, delivered: Delivered, received: Stored) -> None:
        self.delivered = delivered
        self.received = received
        self.key = (received.sender, received.id)
        self.replies = [delivered.reply]  # more than one when duplicates arrived meanwhile
        self.failures: list[ErrorInfo] = []
        self.untried = False
        """Delivered before, but certainly never handed to a handler."""


class Lanes:
    """Hands messages to ``handler``. ``acks`` is false for ephemeral consumers, which cannot acknowledge."""

    def __init__(
        self,
        connection: Connection,
        handler: Callable[[Stored], Awaitable[object]],
        undertaker: Undertaker,
        *,
        max_deliver: int,
        acks: bool = True,
        lane_of: Callable[[Stored], str] = lambda received: received.sender,
        complete: Callable[[Stored], Awaitable[None] | None] = lambda received: None,
    ) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._handler = handler
        self._undertaker = undertaker
        self._max_deliver = max_deliver
        self._acks = acks
        self._lane_of = lane_of
        self._complete = complete
        self._slots = Slots(self._settings.handlers)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lanes: dict[str, deque[Held]] = {}
        self._frozen = False
        self._by_key: dict[tuple[str, str], Held] = {}
        self._handled: OrderedDict[tuple[str, str], int] = OrderedDict()
        self.held: dict[int, Held] = {}
        """By stream sequence, parked ones included."""
        self.on_release: Callable[[], None] = lambda: None
        """Called after each message that left our hands."""
        self.last_sequence = 0
        """Of what was handed over or set aside last; where an ephemeral consumer goes on."""

    # --- arrival -------------------------------------------------------------------------------------------------

    def known(self, delivered: Delivered) -> bool:
        """A redelivery of what is in hand: its newer ack subject replaces the old one."""
        item = self.held.get(delivered.sequence)
        if item is None:
            return False
        item.replies[0] = delivered.reply
        return True

    def take(self, delivered: Delivered, received: Stored) -> Held | None:
        """Hold it. ``None``: it is a duplicate of a handled one (acknowledged now) or of one in hand (then with it)."""
        key = (received.sender, received.id)
        if key in self._handled:
            self._connection.faults.counts["duplicate_dropped"] += 1
            self.ack(delivered.reply)
            return None
        twin = self._by_key.get(key)
        if twin is not None:
            twin.replies.append(delivered.reply)
            return None
        item = Held(delivered, received)
        self.held[delivered.sequence] = item
        self._by_key[key] = item
        return item

    def start(self, item: Held) -> None:
        """Into its lane."""
        if self._frozen:
            return
        name = self._lane_of(item.received)
        lane = self._lanes.get(name)
        if lane is not None:
            lane.append(item)
            return
        lane = self._lanes[name] = deque((item,))
        self._tasks[name] = asyncio.get_running_loop().create_task(self._run(name, lane))

    def ack(self, reply: str) -> None:
        if self._acks:
            self._connection.send(reply, b"+ACK")

    # --- one lane ------------------------------------------------------------------------------------------------

    async def _run(self, name: str, lane: deque[Held]) -> None:
        try:
            while lane:
                await self._settle(lane[0])
                lane.popleft()
                if lane:
                    # One turn of the loop, in which the acknowledgement leaves: whatever the next handler does to this
                    # process, the server knows that this one has ended.
                    await asyncio.sleep(0)
        finally:
            del self._lanes[name], self._tasks[name]

    async def _settle(self, item: Held) -> None:
        """Until its handler succeeded or it is a dead letter."""
        earlier = item.delivered.deliveries - 1 if self._acks and not item.untried else 0
        while True:
            if earlier + len(item.failures) >= self._max_deliver:
                await self._bury(item, earlier)
                return
            item.received.deliveries = 1 + earlier + len(item.failures)
            if not self._slots.take_now():
                await self._slots.take()
            try:
                error = await self._attempt(item)
            finally:
                self._slots.give()
            if error is None:
                self._remember(item)
                self._release(item)
                return
            item.failures.append(failure_info(error))
            if earlier + len(item.failures) < self._max_deliver:
                await asyncio.sleep(self._backoff_s(len(item.failures)))

    async def _attempt(self, item: Held) -> Exception | None:
        traceparent = item.delivered.traceparent
        token = trace.use(traceparent) if traceparent is not None else None
        try:
            completing = self._complete(item.received)
            if completing is not None:
                await completing
            await self._handler(item.received)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is counted, retried and kept as the cause
            self._connection.faults.report(
                "handler_failed", message=item.received.id, sender=item.received.sender, error=repr(error)
            )
            return error
        finally:
            if token is not None:
                trace.reset(token)
        return None

    def _backoff_s(self, failures: int) -> float:
        return min(self._settings.retry_initial_s * 2.0 ** (failures - 1), self._settings.retry_max_s)

    async def _bury(self, item: Held, earlier: int) -> None:
        if item.failures:
            cause, causes = item.failures[-1], item.failures[:-1]
        else:
            cause, causes = self._never_returned(earlier), []
        while True:
            try:
                await self._undertaker.bury(item, cause, causes)
                break
            except BusUnavailable as error:
                if self._connection.closed:
                    return  # not acknowledged either, so it comes again
                self._connection.faults.report("dead_letter_not_stored", error=str(error))
                await asyncio.sleep(_DEAD_LETTER_PAUSE_S)
            except BoxhubError as error:  # the stream of dead letters is full: the lane waits for room
                self._connection.faults.report("dead_letter_refused", error=str(error))
                await asyncio.sleep(_DEAD_LETTER_PAUSE_S)
        self._release(item)

    @staticmethod
    def _never_returned(earlier: int) -> ErrorInfo:
        return HandlerFailed(
            f"handed over {earlier} times and never acknowledged: each time the process of its handler ended, or hung",
            type="NeverReturned",
        ).to_info()

    def handled(self) -> set[int]:
        """The stream sequences of what was handled lately, acknowledged or not."""
        return set(self._handled.values())

    def _remember(self, item: Held) -> None:
        self._handled[item.key] = item.delivered.sequence
        if len(self._handled) > self._settings.remembered_ids:
            self._handled.popitem(last=False)

    def _release(self, item: Held) -> None:
        for reply in item.replies:
            self.ack(reply)
        self.forget(item)

    def forget(self, item: Held) -> None:
        """Out of our hands, acknowledged or not."""
        sequence = item.delivered.sequence
        self.held.pop(sequence, None)
        self._by_key.pop(item.key, None)
        self.last_sequence = max(self.last_sequence, sequence)
        self.on_release()

    # --- keeping and giving back ---------------------------------------------------------------------------------

    def beat(self) -> None:
        """Tell the server that everything held is being worked on, oldest first."""
        if self._acks and self._connection.connected:
            for _, item in sorted(self.held.items()):
                self._connection.send(item.replies[0], b"+WPI")

    def freeze(self) -> None:
        """Begin nothing more: what waits behind a running handler stays held until `aclose` gives it back."""
        self._frozen = True
        for lane in self._lanes.values():
            while len(lane) > 1:
                lane.pop()

    async def aclose(self, timeout_s: float) -> None:
        """Let running handlers end, cancel those that do not in time. `give_back` follows."""
        self.freeze()
        running = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        if running:
            await asyncio.wait(running, timeout=timeout_s)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def give_back(self) -> None:
        """Return what is held to the server, in stream order, so that the next instance gets it at once."""
        if self._acks and self._connection.connected:
            for _, item in sorted(self.held.items()):
                for reply in item.replies:
                    self._connection.send(reply, b"-NAK")
        self.held.clear()
        self._by_key.clear()
