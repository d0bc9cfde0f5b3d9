"""nats-py's client with two additions that the hot paths need.

``send`` queues a publish without a coroutine; *direct* subscriptions get the raw parts of a message in the
reading loop itself, without a message object, a queue and a task switch. Both use what nats-py calls private
(`_pending`, `_flush_queue`, `_process_msg`); `tests/integration/bus/test_client.py` fails when a new version
moves them. Everything else (handshake, parsing, pings, reconnect) is nats-py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nats import errors
from nats.aio.client import Client as NatsClient

DirectCallback = Callable[[bytes, bytes, bytes, bytes | None], None]
"""``(subject, reply, data, headers)``; must not block, must not raise. ``subject`` may be a bytearray's slice."""

_INLINE_FLUSH_BYTES = 64 * 1024


class Client(NatsClient):
    """One life of a connection. Not for use from other threads."""

    def __init__(self) -> None:
        super().__init__()
        self._direct: dict[int, DirectCallback] = {}

    def send(
        self, subject: str, payload: bytes, reply: str = "", headers: bytes | None = None, *, alone: bool = False
    ) -> None:
        """Queue one publish; it leaves with the next turn of the event loop, in order. Never waits.

        ``headers`` is the whole encoded header block. ``alone`` says that no more will follow in this turn, so that it
        may leave now. The caller has checked subject and size, and minds `unsent_bytes`. While reconnecting it is kept
        and leaves afterwards.
        """
        if headers is None:
            command = b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
        else:
            command = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
                subject.encode(),
                reply.encode(),
                len(headers),
                len(headers) + len(payload),
                headers,
                payload,
            )
        if alone and self._pending_data_size == 0 and self._status == NatsClient.CONNECTED:
            self._transport.write(command)  # type: ignore[union-attr]
            return
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self._status != NatsClient.CONNECTED:
            return
        if self._pending_data_size > _INLINE_FLUSH_BYTES:
            self._write_pending()
        elif self._flush_queue.empty():  # type: ignore[union-attr]
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())  # type: ignore[union-attr]

    async def flush(self, timeout: int = 10) -> None:
        """nats-py writes the PING past what is still queued, so its PONG would prove nothing about that."""
        if self._pending and self._status == NatsClient.CONNECTED:
            self._write_pending()
        await super().flush(timeout)

    def unsent_bytes(self) -> int:
        """What was queued and is not in the kernel's hands yet."""
        writer = getattr(self._transport, "_io_writer", None)
        buffered = writer.transport.get_write_buffer_size() if writer is not None else 0
        return self._pending_data_size + int(buffered)

    def _write_pending(self) -> None:
        """A producer that never yields must not pile up megabytes: the kernel takes what it can now."""
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        self._transport.writelines(pending)  # type: ignore[union-attr]

    async def subscribe_direct(self, subject: str, callback: DirectCallback, queue: str = "") -> int:
        """Subscribe; returns the subscription's number for `unsubscribe_direct`. Survives reconnects."""
        sid = self._sid + 1  # what `subscribe` is going to take; it does so before its first await
        self._direct[sid] = callback
        subscription: Any = await self.subscribe(subject, queue=queue)
        assert subscription._id == sid
        return sid

    async def unsubscribe_direct(self, sid: int) -> None:
        """The callback still gets what the server had sent before it heard of this; nothing comes after."""
        subscription: Any = self._subs.get(sid)
        try:
            if subscription is not None and not self.is_closed and not self.is_draining:
                await subscription.unsubscribe()
                if self.is_connected:
                    await self.flush(timeout=2)
        except errors.FlushTimeoutError:
            pass  # the connection is going; so is the subscription
        finally:
            self._direct.pop(sid, None)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        callback = self._direct.get(sid)
        if callback is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            callback(subject, reply, data, headers)
        except Exception as error:  # noqa: BLE001 - as asyncio does for its callbacks: one bug must not end reading
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"bus callback for {bytes(subject)!r} failed", "exception": error}
            )
