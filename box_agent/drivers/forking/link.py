"""The node's end of a worker's socket: calls and streams go in, answers and the box's own requests come out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from box_agent.driver import CallRequest
from box_agent.worker.frames import Decoder, Frame, encode
from schemas.errors import BoxDied, BoxhubError, ErrorInfo, InvalidArguments, Overloaded, error_from_info

_UNSENT_BYTES: Final = 128 * 1024 * 1024
_BYTES_S: Final = 64 * 1024 * 1024
_UNASKED_S: Final = 8192
"""Bytes, and frames that nobody asked for (requests, progress, log), that are read of one box in a second. A worker's
own bounds are below; code that goes around them waits, and the node has time for others."""


class PendingCall:
    """One call that is under way: ``ended`` holds the result, or what it failed with."""

    def __init__(self, request: CallRequest, credit: int) -> None:
        self.request = request
        self.credit = credit
        self.items: deque[Any] = deque()
        self.arrived = asyncio.Event()
        """Set when there is an item to take, or the end."""
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.why: BoxhubError | None = None
        """Set by whoever ends it on purpose: what its caller is told when the box had to be killed for that."""

    def end(self, value: Any = None, error: BoxhubError | None = None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(value)
        else:
            self.ended.set_exception(error)
            self.ended.exception()  # seen: a caller that left is nobody's fault
        self.arrived.set()


class WorkerLink(asyncio.Protocol):
    """Frames in both directions. ``on_request`` and ``on_emit`` take what the box says by itself.

    ``on_broken`` is called, perhaps more than once, when it cannot be spoken with any more, with the reason.
    """

    def __init__(
        self, on_request: Callable[[Frame], None], on_emit: Callable[[Frame], None], on_broken: Callable[[str], None]
    ) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once it takes calls; `BoxDied`, or what its set-up raised, when it never will."""
        self.calls: dict[str, PendingCall] = {}
        self._transport: asyncio.Transport | None = None
        self._decoder = Decoder()
        self._on_request = on_request
        self._on_emit = on_emit
        self._on_broken = on_broken
        self._second = 0
        self._bytes = 0
        self._unasked = 0

    # --- out ----------------------------------------------------------------------------------------------------------

    def begin(self, request: CallRequest, credit: int) -> PendingCall:
        """Send a call. Raises `BoxDied`, `Overloaded`, `InvalidArguments`."""
        if request.id in self.calls:
            raise InvalidArguments(f"call {request.id} runs already", errors=[])
        frame: Frame = {
            "t": "call",
            "id": request.id,
            "skill": request.skill,
            "args": list(request.args),
            "kwargs": dict(request.kwargs),
            "caller": request.caller,
            "timeout_s": request.timeout_s,
            "branch": request.branch,
            "conversation": request.conversation,
            "task": request.task,
            "credit": credit,
        }
        try:
            data = encode(frame)
        except ValueError as error:
            raise InvalidArguments(
                f"skill {request.skill!r}: the arguments cannot travel: {error}", errors=[]
            ) from error
        self._write(data)
        pending = self.calls[request.id] = PendingCall(request, credit)
        pending.ended.add_done_callback(lambda _: self.calls.pop(request.id, None))
        return pending

    def credit(self, call: str, more: int) -> None:
        self.send({"t": "credit", "id": call, "n": more})

    def cancel(self, call: str) -> None:
        self.send({"t": "cancel", "id": call})

    def send(self, frame: Frame) -> None:
        """Harmless when the worker is gone: how it ended is told to every caller."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > _UNSENT_BYTES:
            self._break_off("does not read what it is answered")
        else:
            self._transport.write(encode(frame))

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise BoxDied("the box has ended")
        if self._transport.get_write_buffer_size() > _UNSENT_BYTES:
            raise Overloaded("the box does not take what is sent to it; try again later")
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- in -----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._arrived(frame)
        except (ValueError, KeyError, TypeError):  # code in the box wrote to the socket: it cannot be trusted any more
            self._break_off("wrote to the platform's own socket")
        else:
            self._pace(len(data))

    def _pace(self, size: int) -> None:
        """Read no more of this box in this second when it has said enough."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        now = loop.time()
        if int(now) != self._second:
            self._second, self._bytes, self._unasked = int(now), 0, 0
        self._bytes += size
        if (self._bytes > _BYTES_S or self._unasked > _UNASKED_S) and not self._transport.is_closing():
            self._transport.pause_reading()
            loop.call_at(self._second + 1, self._transport.resume_reading)

    def _break_off(self, why: str) -> None:
        self.close()
        self._on_broken(why)

    def connection_lost(self, error: Exception | None) -> None:
        """Calls stay pending: they have failed when the box is known to have ended, not before."""

    def _arrived(self, frame: Frame) -> None:
        kind = frame["t"]
        if kind in ("request", "emit"):
            self._unasked += 1
            (self._on_request if kind == "request" else self._on_emit)(frame)
        elif kind in ("ready", "failed"):
            self._started(frame)
        elif (call := self.calls.get(frame["id"])) is not None:
            self._answered(call, frame)

    def _started(self, frame: Frame) -> None:
        if self.ready.done():
            return
        if frame["t"] == "ready":
            self.ready.set_result(None)
        else:
            self.ready.set_exception(_error(frame))

    def _answered(self, call: PendingCall, frame: Frame) -> None:
        match frame["t"]:
            case "chunk":
                call.items.append(frame.get("data"))
                call.arrived.set()
            case "result":
                call.end(frame.get("data"))
            case "end":
                call.end()
            case "error":
                call.end(error=_error(frame))

    def fail_all(self, why: BoxhubError) -> None:
        """The box has ended."""
        if not self.ready.done():
            self.ready.set_exception(why)
            self.ready.exception()
        for call in list(self.calls.values()):
            call.end(error=call.why or why)


def _error(frame: Frame) -> BoxhubError:
    return error_from_info(ErrorInfo.model_validate(frame["error"]))
