"""Calling skills of other boxes: live, with a deadline, cancellable; streams with bounded read-ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from box_agent.bus.asking import AskedAnswer
from box_agent.bus.deadlines import MISSED_KEEPALIVES
from box_agent.bus.replies import CALL, status_of
from box_agent.bus.trace import header_block
from schemas import envelope as envelopes
from schemas import subjects
from schemas.envelope import Envelope
from schemas.errors import (
    BoxhubError,
    BoxNotFound,
    BusUnavailable,
    DeadlineExceeded,
    ErrorInfo,
    InvalidInput,
    MalformedEnvelope,
    error_from_info,
)

if TYPE_CHECKING:
    from box_agent.bus.blobrefs import BlobRefs
    from box_agent.bus.connection import Connection


class Calls:
    """Calls made by one address."""

    def __init__(self, connection: Connection, refs: BlobRefs, tenant: str, address: str) -> None:
        self._connection = connection
        self._refs = refs
        self._tenant = tenant
        self._address = address
        self._source = subjects.source(tenant, address)

    async def call(self, box: str, skill: str, args: Sequence[Any], kwargs: Mapping[str, Any], timeout_s: float) -> Any:
        """See `Agent.call`."""
        connection = self._connection
        subject = subjects.call(self._tenant, box, self._address, skill)
        request = envelopes.make(
            envelopes.CALL,
            self._source,
            {"args": args, "kwargs": kwargs},
            timeoutms=_milliseconds(timeout_s),
        )
        body = self._refs.encode_now(request) or await self._refs.encode(request)
        if not connection.connected:
            await connection.wait_connected(timeout_s)

        def ask(reply: str) -> None:
            self.control(box, request.id, {"ask": True}, reply)

        answer = AskedAnswer(connection.replies, f"{box}.{skill}", ask, connection.settings.ask_s)
        try:
            connection.send(subject, body, answer.subject, header_block(), alone=connection.replies.single)
            data, headers = await answer.within(timeout_s)
        except TimeoutError:
            self.control(box, request.id, {"cancel": True})
            raise _too_late(box, skill, timeout_s) from None
        except asyncio.CancelledError:
            self.control(box, request.id, {"cancel": True})
            raise
        finally:
            answer.forget()
        envelope = opened(data, headers, box)
        fetching = self._refs.resolve(envelope)
        if fetching is not None:
            envelope = await fetching
        if envelope.type == envelopes.RESULT:
            return envelope.payload
        raise failure(envelope)

    def stream(
        self, box: str, skill: str, args: Sequence[Any], kwargs: Mapping[str, Any], timeout_s: float
    ) -> AsyncIterator[Any]:
        """See `Agent.stream`."""
        return self._read(box, skill, args, kwargs, timeout_s)

    async def _read(
        self, box: str, skill: str, args: Sequence[Any], kwargs: Mapping[str, Any], timeout_s: float
    ) -> AsyncIterator[Any]:
        connection = self._connection
        credit = connection.settings.stream_credit
        subject = subjects.call(self._tenant, box, self._address, skill)
        data = {"args": args, "kwargs": kwargs, "credit": credit}
        request = envelopes.make(envelopes.CALL, self._source, data, timeoutms=_milliseconds(timeout_s))
        body = await self._refs.encode(request)
        await connection.wait_connected(timeout_s)
        incoming = _Incoming(self, box, request.id, connection.settings.keepalive_s)
        token, reply = connection.replies.expect(incoming, CALL)
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            connection.send(subject, body, reply, header_block())
            taken = 0
            while (envelope := await incoming.next(deadline, timeout_s, skill)) is not None:
                fetching = self._refs.resolve(envelope)
                yield (await fetching if fetching is not None else envelope).payload
                taken += 1
                if taken * 2 >= credit:
                    self.control(box, request.id, {"credit": taken})
                    taken = 0
        finally:
            connection.replies.forget(token)
            if not incoming.ended:
                self.control(box, request.id, {"cancel": True})

    def control(self, box: str, call_id: str, wish: dict[str, Any], reply: str = "") -> None:
        """Tell whoever runs the call; best effort, since its deadline ends it anyway."""
        subject = subjects.control(self._tenant, box, self._address, call_id)
        body = envelopes.encode(envelopes.make(envelopes.CONTROL, self._source, wish))
        try:
            self._connection.send(subject, body, reply)
        except BoxhubError as error:
            self._connection.faults.report("control_not_sent", box=box, error=str(error))


class _Incoming:
    """The chunks of one stream, in order and without a hole."""

    def __init__(self, calls: Calls, box: str, call_id: str, keepalive_s: float) -> None:
        self._calls = calls
        self._box = box
        self._call_id = call_id
        self._keepalive_s = keepalive_s
        self._waiting: deque[Envelope | BoxhubError] = deque()
        self._arrived = asyncio.Event()
        self._sequence = 0
        self.ended = False
        """The other side has ended it: nothing is left to cancel."""

    def feed(self, data: bytes, headers: bytes | None) -> None:
        try:
            envelope = opened(data, headers, self._box)
        except BoxhubError as error:
            self.fail(error)
            return
        if envelope.type == envelopes.CONTROL:
            self._calls.control(self._box, self._call_id, {"credit": 0})  # the reader lives, too
        else:
            self._waiting.append(envelope)
        self._arrived.set()

    def fail(self, error: BoxhubError) -> None:
        self._waiting.append(error)
        self._arrived.set()

    async def next(self, deadline: float, timeout_s: float, skill: str) -> Envelope | None:
        """The next chunk; ``None`` at the end. Raises what the skill raised, `DeadlineExceeded`, `BusUnavailable`."""
        missed = 0
        while not self._waiting:
            self._arrived.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(min(left, self._keepalive_s)):
                    await self._arrived.wait()
                missed = 0
            except TimeoutError:
                if left <= self._keepalive_s:
                    raise _too_late(self._box, skill, timeout_s) from None
                missed += 1  # each wait reads what has come: a process that itself stood still misses one, not all
                if missed == MISSED_KEEPALIVES:
                    raise BusUnavailable(
                        f"{self._box}.{skill}: nothing heard for {missed * self._keepalive_s:g} s; "
                        "it died, or was cut off"
                    ) from None
        first = self._waiting.popleft()
        if isinstance(first, BoxhubError):
            self.ended = isinstance(first, BoxNotFound)
            raise first
        if first.type == envelopes.CHUNK:
            self._sequence += 1
            self._check(first, self._sequence)
            return first
        self.ended = True
        if first.type == envelopes.END:
            self._check(first, self._sequence)
            return None
        raise failure(first)

    def _check(self, envelope: Envelope, expected: int) -> None:
        if envelope.sequence != expected:
            raise BusUnavailable(
                f"{self._box}: the stream lost chunks: {envelope.sequence} came where {expected} was due"
            )


def opened(data: bytes, headers: bytes | None, box: str) -> Envelope:
    """The envelope of an answer. Raises `BoxNotFound` when the server says that nobody listens."""
    if headers is not None and status_of(headers) == 503:
        raise BoxNotFound(f"nobody listens at {box!r} now; see `boxhub boxes` for who does", box=box)
    return envelopes.decode(data)


def failure(envelope: Envelope) -> BoxhubError:
    """The error that an answer carries."""
    if envelope.type != envelopes.ERROR:
        return MalformedEnvelope(f"{envelope.type} is no answer to a call")
    try:
        return error_from_info(ErrorInfo.model_validate(envelope.data))
    except ValueError as error:
        raise MalformedEnvelope(f"the error that came back is malformed: {error}") from error


def _too_late(box: str, skill: str, timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{box}.{skill} did not answer within {timeout_s:.3g} s", timeout="call", seconds=timeout_s)


def _milliseconds(timeout_s: float) -> int:
    if not 0 < timeout_s <= 86_400 * 7:
        raise InvalidInput(f"timeout_s={timeout_s!r}: more than 0, at most a week")
    return max(1, int(timeout_s * 1000))
