"""The supervised pull loop of a JetStream consumer.

nats-py's ``fetch`` can stall after an empty fetch and its pull subscriptions stay silent after a server restart.
Here one request is under way at a time, the server must be heard from every few seconds (idle heartbeats), and
silence, a reconnect or a lost consumer lead to a new request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from box_agent.bus.replies import status_of
from box_agent.bus.trace import from_headers
from schemas.errors import BoxhubError, BusUnavailable
from schemas.ids import new_id

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection, DirectSubscription

_EXPIRES_S = 5.0  # a process that stands still attracts redeliveries with its open request for so long
_HEARTBEAT_S = 2.0
_SILENCE_S = 2 * _HEARTBEAT_S + 1.0
_PAUSE_S = 0.02
_RETRY_S = 0.2


class Delivered:
    """One delivery from a stream: the message and what its ack subject tells."""

    __slots__ = ("consumer_sequence", "data", "deliveries", "headers", "reply", "sequence", "subject")

    def __init__(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.subject = subject
        self.reply = reply.decode()
        self.data = data
        self.headers = headers
        # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<consumer sequence>.<time>.<pending>
        fields = reply.split(b".")
        at = 4 if len(fields) < 11 else 6
        self.deliveries = int(fields[at])
        self.sequence = int(fields[at + 1])
        self.consumer_sequence = int(fields[at + 2])

    @property
    def traceparent(self) -> str | None:
        return from_headers(self.headers)


class Pull:
    """Asks for as many messages as ``room`` allows whenever nothing is under way.

    ``on_delivery`` runs in the reading loop. ``on_cut`` is called when the connection is lost: what the server had sent
    may never arrive, and its answer to a request made before may still come after. ``recover`` is awaited when the
    consumer may be gone: it makes sure of it, and raises a `BoxhubError` to be tried again. Call `wake` when ``room``
    has grown.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        *,
        on_delivery: Callable[[Delivered], None],
        room: Callable[[], int],
        recover: Callable[[], Awaitable[str]],
        on_cut: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._stream = stream
        self._consumer = consumer
        self._on_delivery = on_delivery
        self._room = room
        self._recover = recover
        self._on_cut = on_cut
        self._inbox = f"_I.{connection.name}.{new_id('p')}."
        self._subscription: DirectSubscription | None = None
        self._request = 0
        self._under_way = 0
        self._heard_at = 0.0
        self._in_doubt = False
        self._wake = asyncio.Event()
        self.no_wait = False
        """Ask for what is there now only; a request that finds nothing calls ``on_empty``."""
        self.on_empty: Callable[[], None] | None = None

    def wake(self) -> None:
        self._wake.set()

    @property
    def idle(self) -> bool:
        """No request is under way."""
        return self._under_way <= 0

    def again(self) -> None:
        """Forget the request under way and make a new one, since what to ask for has changed."""
        self._under_way = 0
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        connection = self._connection
        loop = asyncio.get_running_loop()
        self._subscription = await connection.subscribe(self._inbox + "*", self._on_message)
        connection.on_cut.append(self._on_cut)
        connection.on_reconnect.append(self._on_reconnect)
        try:
            while True:
                if self._in_doubt:
                    await self._until_recovered()
                elif self._under_way <= 0 and connection.connected and (room := self._room()) > 0:
                    self._ask(room)
                silence_at = self._heard_at + _SILENCE_S if self._under_way > 0 else loop.time() + _SILENCE_S
                handle = loop.call_at(silence_at, self._wake.set)
                try:
                    await self._wake.wait()
                finally:
                    handle.cancel()
                self._wake.clear()
                if self._under_way > 0 and loop.time() >= self._heard_at + _SILENCE_S:
                    connection.faults.report("pull_silent", stream=self._stream, consumer=self._consumer)
                    self._in_doubt = True
        finally:
            connection.on_reconnect.remove(self._on_reconnect)
            connection.on_cut.remove(self._on_cut)

    async def stop(self) -> None:
        """After this nothing is delivered any more; what the server had under way came before."""
        if self._subscription is not None:
            await self._subscription.aclose()

    def _ask(self, batch: int) -> None:
        self._request += 1
        self._under_way = batch
        self._heard_at = asyncio.get_running_loop().time()
        request: dict[str, int | bool] = {"batch": batch}
        if self.no_wait:
            request["no_wait"] = True
        else:
            request |= {"expires": int(_EXPIRES_S * 1e9), "idle_heartbeat": int(_HEARTBEAT_S * 1e9)}
        self._connection.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            msgspec.json.encode(request),
            f"{self._inbox}{self._request}",
        )

    def _on_message(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._heard_at = self._loop.time()
        if reply:
            self._under_way -= 1
            self._on_delivery(Delivered(subject, reply, data, headers))
            if self._under_way <= 0:
                self._wake.set()
            return
        status = status_of(headers)
        if status == 100 or not subject.endswith(b".%d" % self._request):
            return
        self._under_way = 0
        if status == 404 and self.on_empty is not None:
            self.on_empty()
        if status not in (404, 408):  # 409 consumer deleted, server shutting down …; 503 no such consumer
            self._in_doubt = True
        self._wake.set()

    def _on_reconnect(self) -> None:
        self._under_way = 0
        self._in_doubt = True
        self._wake.set()

    async def _until_recovered(self) -> None:
        await asyncio.sleep(_PAUSE_S)  # a server that refuses every request must not be asked in a tight loop
        try:
            self._consumer = await self._recover()
        except BusUnavailable:
            self._wake.set()
            await asyncio.sleep(_RETRY_S)
            return
        except BoxhubError as error:
            self._connection.faults.report(
                "consumer_not_recovered", stream=self._stream, consumer=self._consumer, error=str(error)
            )
            self._wake.set()
            await asyncio.sleep(1.0)
            return
        self._in_doubt = False
        self._under_way = 0
        self._wake.set()
