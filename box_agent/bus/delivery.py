"""A durable subscription: consumer, pull loop, admission and lanes put together. Inbox and events are built on it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from box_agent.bus import consumers
from box_agent.bus.admission import Admission
from box_agent.bus.consumers import ConsumerSpec, Start
from box_agent.bus.dead_letters import Burial, for_another
from box_agent.bus.jetstream import next_message
from box_agent.bus.lanes import Lanes
from box_agent.bus.pull import Delivered, Pull
from box_agent.bus.received import sender_of
from box_agent.bus.scope import Scope
from schemas.errors import BoxhubError, BusUnavailable, InvalidInput
from schemas.ids import new_id

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection
    from box_agent.bus.received import Stored
    from box_agent.bus.streams import Kind, Streams

_POLL_S = 1.0
_MARGIN_S = 1.0
_MAX_DUE = 1024


class Delivery:
    """Runs until `aclose`. ``decode`` turns a delivery into what the handler gets; what it refuses is buried."""

    def __init__(
        self,
        connection: Connection,
        streams: Streams,
        kind: Kind,
        spec: ConsumerSpec,
        lanes: Lanes,
        burial: Burial,
        decode: Callable[[Delivered], Stored],
        *,
        ordered: bool = True,
        on_closed: Callable[[Delivery], None] = lambda delivery: None,
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._kind: Kind = kind
        self._spec = spec
        self._lanes = lanes
        self._burial = burial
        self._decode = decode
        self._ordered = ordered
        self._on_closed = on_closed
        self._scope = Scope()
        self._cuts = 0
        self._ending_hold: asyncio.Task[None] | None = None
        self._lost = False  # what an ephemeral consumer sends after a cut may have a gap before it
        self._seen = 0  # newest sequence delivered, for consumers that the server may forget
        self._admission = Admission(lanes, connection.settings.prefetch)
        self._pull = Pull(
            connection,
            spec.stream,
            spec.name,
            on_delivery=self._on_delivery,
            room=self._admission.room,
            recover=self._recover,
            on_cut=self._on_cut,
        )
        lanes.on_release = self._released

    @property
    def consumer(self) -> str:
        return self._spec.name

    async def start(self) -> None:
        """Returns when the consumer exists: what is published from now on will be delivered."""
        await self._streams.ensure(self._kind)
        info = await consumers.ensure(self._connection, self._spec)
        self._seen = info["delivered"]["stream_seq"]
        if self._ordered and self._spec.durable:
            await self._attach(info)
        self._scope.spawn(self._pull.run(), f"pull {self._spec.name}")
        if self._spec.durable:
            self._scope.spawn(self._beat(), f"beats {self._spec.name}")

    def freeze(self) -> None:
        """Begin no further handler; `aclose` follows."""
        self._lanes.freeze()

    async def aclose(self) -> None:
        """Take no more, let running handlers end within ``close_timeout_s``, give back the rest. Harmless twice."""
        if self._scope.closing:
            return
        self._scope.closing = True
        self.freeze()
        try:
            await self._pull.stop()
            await self._lanes.aclose(self._connection.settings.close_timeout_s)
            await self._leave()
        finally:
            await self._scope.aclose()
            self._on_closed(self)

    async def _leave(self) -> None:
        if not self._connection.connected:
            return
        try:
            if not self._spec.durable:
                await consumers.delete(self._connection, self._spec.stream, self._spec.name)
                return
            if self._lanes.held:
                # Asking for it makes the server notice that our last request has no reader any more; without that it
                # would try to serve the first message given back to us, and then put it behind the others.
                await consumers.ensure(self._connection, self._spec)
            self._lanes.give_back()
        except BoxhubError as error:  # then it comes again after ack_wait_s
            self._connection.faults.report("not_given_back", consumer=self._spec.name, error=str(error))

    # --- arrival -------------------------------------------------------------------------------------------------

    def _on_delivery(self, delivered: Delivered) -> None:
        if not self._spec.durable:
            if self._lost or delivered.sequence <= self._seen:
                return
            self._seen = delivered.sequence
        self._admit(delivered)
        self._admission.settled(delivered.sequence, sender_of(delivered.subject))

    def _admit(self, delivered: Delivered) -> None:
        if self._lanes.known(delivered):
            return
        if for_another(delivered.headers, self._spec.name):
            self._lanes.ack(delivered.reply)
            return
        try:
            received = self._decode(delivered)
        except InvalidInput as error:
            if not self._scope.closing:
                self._scope.spawn(self._bury(delivered, error), "bury malformed")
            return
        item = self._lanes.take(delivered, received)
        if item is not None and not self._scope.closing:
            self._admission.arrived(item)

    async def _bury(self, delivered: Delivered, error: InvalidInput) -> None:
        """Bytes that are no envelope can never be handled; anyone may have put them there."""
        self._connection.faults.report("malformed_message", subject=delivered.subject.decode("utf-8", "replace"))
        try:
            await self._burial.store(
                delivered.subject, delivered.sequence, delivered.data, delivered.deliveries, error.to_info(), []
            )
        except BoxhubError as refused:
            self._connection.faults.report("dead_letter_not_stored", error=str(refused))
            return  # not acknowledged, so it comes again
        self._lanes.ack(delivered.reply)

    def _released(self) -> None:
        if self._pull.idle and self._admission.room() > 0:
            self._pull.wake()

    # --- keeping it alive ----------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._connection.settings.ack_wait_s / 3)
            self._lanes.beat()

    async def _attach(self, info: dict[str, Any]) -> None:
        """What an earlier process had in hand comes first."""
        pending, floor = info["num_ack_pending"], info["delivered"]["stream_seq"]
        if pending > 0:
            due = await self._unacknowledged(info, floor)
            self._admission.attach(pending, floor, self._until(), due)
            self._hold()

    async def _reattach(self, info: dict[str, Any]) -> None:
        """What the server had sent when the connection was cut, and never arrived, comes before newer mail."""
        pending, floor = self._held_by_others(info), info["delivered"]["stream_seq"]
        if pending > 0:
            known = self._lanes.held.keys() | self._lanes.handled()
            candidates = await self._unacknowledged(info, floor)
            missing = [(sequence, sender) for sequence, sender in candidates if sequence not in known]
            everyone = len(candidates) >= _MAX_DUE
            self._admission.reattach(pending, floor, self._until(), missing, known, everyone=everyone)
        if self._admission.holding:
            self._hold()

    def _held_by_others(self, info: dict[str, Any]) -> int:
        """How many messages the server waits for that are not in hand here: lost ones, or another instance's."""
        floor = info["delivered"]["stream_seq"]  # younger ones may have come since the server counted
        ours = sum(1 for sequence in self._lanes.held if sequence <= floor)
        return int(info["num_ack_pending"]) - ours

    async def _unacknowledged(self, info: dict[str, Any], floor: int) -> list[tuple[int, str]]:
        """Sequences and senders from the first message that is certainly not acknowledged up to ``floor``."""
        due: list[tuple[int, str]] = []
        sequence = info["ack_floor"]["stream_seq"] + 1
        while sequence <= floor and len(due) < _MAX_DUE:
            found = await next_message(self._connection, self._spec.stream, self._spec.filter, sequence)
            if found is None or found["seq"] > floor:
                break
            due.append((found["seq"], sender_of(found["subject"].encode())))
            sequence = found["seq"] + 1
        return due

    def _until(self) -> float:
        """Loop time when whatever is pending now has been given up by whoever had it."""
        return asyncio.get_running_loop().time() + self._connection.settings.ack_wait_s + _MARGIN_S

    def _hold(self) -> None:
        if not self._scope.closing and (self._ending_hold is None or self._ending_hold.done()):
            self._ending_hold = self._scope.spawn(self._end_hold(), f"hold {self._spec.name}")

    async def _end_hold(self) -> None:
        """Until what was pending has come, was acknowledged by another instance, or is overdue."""
        admission = self._admission
        while admission.holding and not admission.overdue:
            await asyncio.sleep(_POLL_S)
            try:
                info = await consumers.ensure(self._connection, self._spec)
            except BoxhubError as error:  # the server is away; what it has pending, it will still have
                self._connection.faults.report("hold_unknown", consumer=self._spec.name, error=str(error))
                continue
            if admission.holding and not admission.paused and self._held_by_others(info) <= 0:
                admission.release()
        if admission.holding:
            self._pull.no_wait = True
            self._pull.on_empty = self._nothing_left
            self._pull.again()
            while admission.holding:
                await asyncio.sleep(_POLL_S)
                self._pull.wake()
        self._pull.no_wait = False
        self._pull.again()

    def _nothing_left(self) -> None:
        if self._admission.overdue:
            self._admission.release()

    def _on_cut(self) -> None:
        self._cuts += 1
        if not self._spec.durable:
            self._lost = True
        elif self._ordered:
            self._admission.pause()

    async def _recover(self) -> str:
        cuts = self._cuts
        self._streams.forget(self._kind)
        await self._streams.ensure(self._kind)
        if self._spec.durable:
            resume = None if self._kind == "inbox" else Start(sequence=self._oldest_unhandled())
            info = await consumers.ensure(self._connection, self._spec, resume=resume)
            if self._admission.paused:
                await self._reattach(info)
        else:
            await self._replace_ephemeral()
        if cuts != self._cuts:
            raise BusUnavailable("the connection was cut again meanwhile")
        self._lost = False
        self._admission.resume()
        return self._spec.name

    def _oldest_unhandled(self) -> int:
        held = self._lanes.held
        return min(held) if held else max(self._lanes.last_sequence, self._seen) + 1

    async def _replace_ephemeral(self) -> None:
        """What was under way may be lost: a new one begins behind what was seen."""
        await consumers.delete(self._connection, self._spec.stream, self._spec.name)
        spec = dataclasses.replace(self._spec, name=new_id("eph"), start=Start(sequence=self._seen + 1))
        await consumers.ensure(self._connection, spec)
        self._spec = spec
