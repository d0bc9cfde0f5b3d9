"""One connection to the bus that comes back by itself, whatever ended it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import nats.errors

from box_agent.bus.client import Client, DirectCallback
from box_agent.bus.deadlines import Deadlines
from box_agent.bus.faults import Faults
from box_agent.bus.replies import Replies
from box_agent.bus.scope import Scope
from box_agent.config import AgentSettings
from box_agent.ending import cancellable
from schemas.errors import BusUnavailable, InvalidInput, Overloaded, PayloadTooLarge, Unauthenticated

_HEADERS_BYTES = 1024  # a payload and its headers share the server's limit
_LETTER_BYTES = 16 * 1024  # what a dead letter adds to the message it carries


class DirectSubscription:
    """Interest in a subject that outlives reconnects and rebuilt clients."""

    def __init__(self, connection: Connection, subject: str, queue: str, callback: DirectCallback) -> None:
        self.subject, self.queue, self.callback = subject, queue, callback
        self.sid = 0
        self._connection = connection

    async def aclose(self) -> None:
        """Messages already on their way may still be delivered to the callback while this waits."""
        await self._connection._unsubscribe(self)


class Connection:
    """Send, subscribe, and know whether the server is there.

    nats-py reconnects for ever; when its client ends all the same (credentials expired, protocol error) a new one
    is built with the same subscriptions. ``on_reconnect`` callbacks run after either, since whatever was under way
    is then in doubt.
    """

    def __init__(self, url: str, name: str, settings: AgentSettings) -> None:
        self.name = name
        self.settings = settings
        self.faults = Faults(agent=name)
        self.on_cut: list[Callable[[], None]] = []
        self.on_reconnect: list[Callable[[], None]] = []
        self.filled: set[str] = set()
        """Streams that are known to have held messages; see `jetstream.stored_message`."""
        self._url = url
        self._scope = Scope()
        self._client = Client()
        self._subscriptions: list[DirectSubscription] = []
        self._up = asyncio.Event()
        self._refused: asyncio.Future[None] | None = None
        self.deadlines = Deadlines()
        self.replies = Replies(self, f"_I.{name}")

    @classmethod
    async def open(cls, url: str, name: str, settings: AgentSettings) -> Self:
        """Connected, or raises `BusUnavailable` after ``connect_timeout_s``, `Unauthenticated` at once."""
        self = cls(url, name, settings)
        self._refused = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await self._connect_or_refused()
                await self.replies.open()
        except TimeoutError as error:
            await self.aclose()
            cause = self._client.last_error or error
            raise BusUnavailable(
                f"no nats-server answers at {_shown(url)} within {settings.connect_timeout_s:g} s ({cause}); "
                "start one with `boxhub up`, or set BOXHUB_NATS_URL"
            ) from error
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._refused = None
        return self

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    @property
    def closed(self) -> bool:
        return self._scope.closing

    @property
    def max_payload(self) -> int:
        """Bytes one envelope may have, so that a dead letter made of it still fits."""
        return self._client.max_payload - _HEADERS_BYTES - _LETTER_BYTES

    @property
    def hard_max_payload(self) -> int:
        """What the server takes, headers left out."""
        return self._client.max_payload - _HEADERS_BYTES

    @property
    def server_version(self) -> tuple[int, int, int]:
        version = self._client.connected_server_version
        return version.major, version.minor, version.patch

    @property
    def clustered(self) -> bool:
        """Whether the server is one of several."""
        return bool(self._client._server_info.get("cluster"))

    async def wait_connected(self, timeout_s: float) -> None:
        """Returns at once when connected. Raises `BusUnavailable` when it stays away longer than that."""
        if self._up.is_set():
            return
        self._check_open()
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError as error:
            raise BusUnavailable(f"no connection to {_shown(self._url)} for {timeout_s:.3g} s") from error

    # --- sending -------------------------------------------------------------------------------------------------

    def send(
        self, subject: str, body: bytes, reply: str = "", headers: bytes | None = None, *, alone: bool = False
    ) -> None:
        """Queue one message, at most once; ``alone``: none follows soon. Raises `PayloadTooLarge`, `Overloaded`."""
        client = self._client
        if len(body) > client._max_payload - _HEADERS_BYTES:
            raise PayloadTooLarge(
                f"{len(body)} bytes on {subject}; one message may have {self.max_payload}",
                size_bytes=len(body),
                limit_bytes=self.max_payload,
            )
        if client._pending_data_size > self.settings.max_pending_bytes:
            raise Overloaded(f"{client._pending_data_size} bytes wait for the socket already", subject=subject)
        if self._scope.closing:
            self._check_open()
        client.send(subject, body, reply, headers, alone=alone)

    async def writable(self) -> None:
        """Wait while more than half of ``max_pending_bytes`` waits for the socket; for senders that can wait."""
        limit = self.settings.max_pending_bytes // 2
        while self._client.unsent_bytes() > limit:  # noqa: ASYNC110 - the transport has no event for this
            await asyncio.sleep(0.001)

    def unsent_bytes(self) -> int:
        return self._client.unsent_bytes()

    async def flush(self, timeout_s: float) -> None:
        """Everything sent so far has reached the server. Raises `BusUnavailable`."""
        await self.wait_connected(timeout_s)
        try:
            await cancellable(self._client.flush(timeout=timeout_s))  # type: ignore[arg-type]
        except (nats.errors.Error, OSError) as error:
            raise BusUnavailable(f"the server did not confirm within {timeout_s:g} s") from error

    # --- subscriptions -------------------------------------------------------------------------------------------

    async def subscribe(self, subject: str, callback: DirectCallback, queue: str = "") -> DirectSubscription:
        """``callback`` runs in the reading loop: it must be quick, and hand on what takes long."""
        self._check_open()
        subscription = DirectSubscription(self, subject, queue, callback)
        self._subscriptions.append(subscription)
        subscription.sid = await self._client.subscribe_direct(subject, callback, queue)
        return subscription

    async def _unsubscribe(self, subscription: DirectSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            await self._client.unsubscribe_direct(subscription.sid)

    # --- lifetime ------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send what is queued and hang up, within ``close_timeout_s``. Harmless twice."""
        if self._scope.closing:
            return
        await self._scope.aclose()
        self.replies.fail(BusUnavailable("the connection was closed"))
        self._up.clear()
        client = self._client
        try:
            async with asyncio.timeout(self.settings.close_timeout_s):
                if client.is_connected:
                    await client.flush(timeout=max(1, int(self.settings.close_timeout_s)))
        except (TimeoutError, nats.errors.Error, OSError) as error:
            self.faults.report("close_without_flush", error=str(error))
        await _end(client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _check_open(self) -> None:
        if self._scope.closing:
            raise BusUnavailable(f"agent {self.name!r} is closed")

    async def _connect_or_refused(self) -> None:
        assert self._refused is not None
        connecting = asyncio.ensure_future(self._connect())
        try:
            await asyncio.wait({connecting, self._refused}, return_when=asyncio.FIRST_COMPLETED)
            if self._refused.done():
                self._refused.result()
            await connecting
        finally:
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait({connecting})
            if not self._refused.done():
                self._refused.cancel()

    async def _connect(self) -> None:
        settings = self.settings
        try:
            await self._client.connect(
                self._url,
                name=self.name,
                inbox_prefix=f"_I.{self.name}",
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
                max_reconnect_attempts=-1,
                reconnect_time_wait=settings.reconnect_wait_s,  # type: ignore[arg-type]
                ping_interval=settings.ping_interval_s,  # type: ignore[arg-type]
                max_outstanding_pings=2,
                connect_timeout=2,
                skip_subject_validation=True,  # `schemas.subjects` built them
            )
        except nats.errors.Error as error:
            if "url" in str(error):
                raise InvalidInput(f"{_shown(self._url)!r} is no NATS URL: {error}") from error
            raise BusUnavailable(f"{_shown(self._url)}: {error}") from error
        self._up.set()

    async def _on_error(self, error: Exception) -> None:
        text = str(error).lower()
        refused = "authorization violation" in text or "authentication" in text
        if refused and self._refused is not None and not self._refused.done():
            self._refused.set_exception(Unauthenticated(f"{_shown(self._url)} refuses the credentials: {error}"))
        if not self._scope.closing and self._refused is None:
            self.faults.report("bus_error", error=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        self._announce_cut()
        if not self._scope.closing:
            self.faults.report("bus_disconnected")

    async def _on_reconnected(self) -> None:
        self._announce_up()

    async def _on_closed(self) -> None:
        self._announce_cut()
        if not self._scope.closing:
            self._scope.spawn(self._rebuild(), "rebuild connection")

    async def _rebuild(self) -> None:
        """A new client in place of one that ended by itself; what the old one had not sent is lost with it."""
        self.faults.report("bus_client_rebuilt", error=str(self._client.last_error or ""))
        self._client = Client()
        await asyncio.sleep(self.settings.reconnect_wait_s)
        await self._connect()
        for subscription in list(self._subscriptions):
            subscription.sid = await self._client.subscribe_direct(
                subscription.subject, subscription.callback, subscription.queue
            )
        self._announce_up()

    def _announce_cut(self) -> None:
        self._up.clear()
        for callback in list(self.on_cut):
            callback()

    def _announce_up(self) -> None:
        self.filled.clear()  # it may be another server, or one that lost its store
        self._up.set()
        for callback in list(self.on_reconnect):
            callback()


async def _end(client: Client) -> None:
    """Close a client in whatever state it is: connecting ones keep a socket that `close` does not see."""
    if client._flush_queue is None:
        return  # it never got as far as a connection
    try:
        async with asyncio.timeout(2):
            await client.close()
    except (TimeoutError, nats.errors.Error, OSError):
        if client._transport is not None:
            client._transport.close()  # type: ignore[no-untyped-call]


def _shown(url: str) -> str:
    """The URL without its password."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://…@{tail}" if at else url
