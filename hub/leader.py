"""Loops that must run once among all replicas of the hub: each is led through a lease on JetStream.

A lease is a key in a key-value bucket whose entries expire after ``ttl_s``. It is taken and renewed by
compare-and-set on the key's revision, so the server lets one caller win. A holder counts from *before* it sent its
last successful renewal and stops at half the time to live; another can take the key only after all of it. The gap
between the two is the safety margin, and why nobody needs to wait after a take-over. The revision only grows: it is
the fencing token that goes with every write whose order matters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from box_agent.bus.connection import Connection
from box_agent.bus.jetstream import STREAM_NOT_FOUND, JetStreamError, find_or_create, stored_message
from box_agent.bus.replies import status_of
from schemas.errors import BusUnavailable, Conflict
from schemas.ids import check_name

_log = structlog.get_logger(__name__)

BUCKET: Final = "boxhub_leases"
_STREAM: Final = f"KV_{BUCKET}"
_WRONG_SEQUENCE: Final = 10071
_ANSWER_S: Final = 2.0

Work = Callable[[int], Awaitable[None]]
"""What a leader does, for ever; it gets the fencing token. It is cancelled when the lease is lost."""


class _LeaseLost(Exception):
    pass


@dataclass(frozen=True)
class Lease:
    """Who holds a name; ``holder`` is empty after a release."""

    holder: str
    revision: int


class _Ack(msgspec.Struct):
    seq: int = 0
    error: dict[str, Any] | None = None


_decode_ack = msgspec.json.Decoder(_Ack).decode


class Leases:
    """The leases of one replica, called ``me``.

    A replica that comes back under the same name takes its leases at once: whoever gives out names
    (``HubSettings.hub_id``) promises that the former process is dead.
    """

    def __init__(self, connection: Connection, me: str, *, ttl_s: float = 15.0) -> None:
        self._connection = connection
        self._me = me
        self._ttl_s = ttl_s
        self._held: dict[str, int] = {}
        self._bucket_ready = False

    @property
    def held(self) -> dict[str, int]:
        """Name → fencing token of what this replica leads now."""
        return dict(self._held)

    async def lead(self, name: str, work: Work) -> None:
        """Run ``work(token)`` whenever this replica holds the lease ``name``, until cancelled.

        The lease is given back when ``work`` ends by itself, raises, or this is cancelled; what ``work`` raises
        comes out in an ``ExceptionGroup``.
        """
        check_name(name, "lease")
        while True:
            renewed = await self._acquire(name)
            token = self._held[name] = renewed.revision
            _log.info("lease.taken", lease=name, holder=self._me, token=token)
            try:
                if await self._work_while_held(name, renewed, work):
                    return
            finally:
                self._held.pop(name, None)
            _log.warning("lease.lost", lease=name, holder=self._me, token=token)

    async def _work_while_held(self, name: str, renewed: _Renewal, work: Work) -> bool:
        """True when ``work`` ended by itself, false when the lease was lost; the lease is released but when lost."""
        lost = False
        token = renewed.revision
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(name, renewed), name=f"renew-{name}")
                await work(token)
                renewing.cancel()
        except* _LeaseLost:
            lost = True
        finally:
            if not lost:
                await self._release(name, renewed.revision)
        return not lost

    async def _acquire(self, name: str) -> _Renewal:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._ensure_bucket()
                lease = await self.read(name)
                if lease is None or lease.holder in ("", self._me):
                    sent_at = loop.time()
                    token = await self._write(name, self._me, lease.revision if lease else 0)
                    if token is not None:
                        return _Renewal(token, sent_at)
            except (BusUnavailable, TimeoutError) as error:
                _log.info("lease.bus_unavailable", lease=name, error=str(error))
            except JetStreamError as error:
                if error.api_code != STREAM_NOT_FOUND:
                    raise
                self._bucket_ready = False  # the server lost its store
            await asyncio.sleep(min(1.0, self._ttl_s / 5))

    async def _renew(self, name: str, renewed: _Renewal) -> None:
        """Returns never; raises `_LeaseLost` at half the time to live without a renewal, or when another has it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ttl_s / 6)
            sent_at = loop.time()
            try:
                async with asyncio.timeout_at(renewed.sent_at + self._ttl_s / 2):
                    revision = await self._renew_once(name, renewed.revision)
            except TimeoutError as error:
                raise _LeaseLost from error
            if revision is None:
                raise _LeaseLost
            renewed.revision, renewed.sent_at = revision, sent_at

    async def _renew_once(self, name: str, revision: int) -> int | None:
        """The new revision, ``None`` when somebody else holds it; as often as it takes until the server answers."""
        while True:
            try:
                written = await self._write(name, self._me, revision)
                if written is not None:
                    return written
                # An unanswered renewal may have been stored: then the lease is ours at a newer revision.
                lease = await self.read(name)
                if lease is None or lease.holder != self._me:
                    return None
                revision = lease.revision
            except (BusUnavailable, TimeoutError):
                await asyncio.sleep(self._ttl_s / 60)

    async def _release(self, name: str, revision: int) -> None:
        """Let the next one have it at once; if the bus does not answer, the lease expires instead."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._write(name, "", revision)
        except (BusUnavailable, TimeoutError) as error:
            _log.info("lease.release_unconfirmed", lease=name, error=str(error))

    # --- the bucket -------------------------------------------------------------------------------------------------

    async def read(self, name: str) -> Lease | None:
        """What the stream's leader says; ``None`` when it expired or never was."""
        message = await stored_message(self._connection, _STREAM, {"last_by_subj": _subject(name)})
        if message is None:
            return None
        body = msgspec.json.decode(b'"%s"' % message.get("data", "").encode(), type=bytes)  # base64
        return Lease(body.decode(), int(message["seq"]))

    async def _write(self, name: str, holder: str, expected: int) -> int | None:
        """The new revision; ``None`` when the key is not at ``expected``. Raises `TimeoutError`: it may be stored."""
        headers = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: %d\r\n\r\n" % expected
        body, status = await self._connection.replies.request(
            _subject(name), holder.encode(), timeout_s=_ANSWER_S, headers=headers
        )
        if status_of(status) == 503:
            raise BusUnavailable(f"no stream answers for {_subject(name)}")
        ack = _decode_ack(body)
        if ack.error is None:
            return ack.seq
        if ack.error.get("err_code") == _WRONG_SEQUENCE:
            return None
        raise BusUnavailable(f"lease {name!r}: {ack.error.get('description')}")

    async def _ensure_bucket(self) -> None:
        if self._bucket_ready:
            return
        config = {
            "name": _STREAM,
            "subjects": [f"$KV.{BUCKET}.>"],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "max_age": int(self._ttl_s * 1e9),
            "max_bytes": 1024 * 1024,
            "duplicate_window": int(min(self._ttl_s, 120) * 1e9),
            "num_replicas": 1,
            "deny_delete": True,
            "allow_rollup_hdrs": True,
            "allow_direct": False,
        }
        found = await find_or_create(self._connection, config)
        if found["config"].get("max_age") != config["max_age"]:
            raise Conflict(
                f"leases are kept for {found['config'].get('max_age', 0) / 1e9:g} s on this server, this hub wants "
                f"{self._ttl_s:g} s; all replicas need the same BOXHUB_LEADER_TTL_S"
            )
        self._bucket_ready = True


@dataclass
class _Renewal:
    """The newest one that the server confirmed: the lease's revision, and when it was asked for."""

    revision: int
    sent_at: float


def _subject(name: str) -> str:
    return f"$KV.{BUCKET}.{name}"
