"""A skill's way out of the box: its `Context` verbs as frames to the node, which stamps who the box is."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from concurrent.futures import Future
from typing import Any, Final

from box_agent.worker.calls import RunningCall, Send
from box_agent.worker.frames import Frame
from schemas.errors import ErrorInfo, InvalidInput, Unavailable, error_from_info

_FLOOD_BYTES: Final = 256 * 1024
"""Of log and progress a second, per box; what is beyond is dropped and counted."""


class Requests:
    """Verbs on their way to the node, and the answers that come back."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}

    def start(self, call: str, verb: str, arguments: dict[str, Any]) -> Future[Any]:
        number = next(self._numbers)
        future: Future[Any] = Future()
        self._waiting[number] = future
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        try:
            self._send({"t": "request", "n": number, "call": call, "verb": verb, "arguments": arguments})
        except ValueError as error:
            future.cancel()
            raise InvalidInput(f"{verb}: the data cannot travel: {error}") from error
        return future

    def answer(self, frame: Frame) -> None:
        """From the reading thread."""
        future = self._waiting.get(frame["n"])
        if future is None or not future.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        if frame.get("error") is not None:
            future.set_exception(error_from_info(ErrorInfo.model_validate(frame["error"])))
        else:
            future.set_result(frame.get("data"))

    def abandon(self) -> None:
        """The node is gone."""
        for future in list(self._waiting.values()):
            if future.set_running_or_notify_cancel():
                future.set_exception(Unavailable("the node of this box is gone"))


class Emitter:
    """Progress and log lines, bounded: a flood is dropped and what was dropped is said."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._second = 0
        self._bytes = 0
        self._dropped = 0

    def emit(self, call: str, kind: str, data: Any) -> None:
        size = 64 + len(str(data))
        with self._lock:
            second = int(time.monotonic())
            dropped = 0
            if second != self._second:
                dropped, self._dropped = self._dropped, 0
                self._second, self._bytes = second, 0
            self._bytes += size
            if self._bytes > _FLOOD_BYTES:
                self._dropped += 1
                return
        if dropped:
            self._send({"t": "emit", "call": call, "kind": "log", "data": {"text": f"[{dropped} lines dropped]"}})
        try:
            self._send({"t": "emit", "call": call, "kind": kind, "data": data})
        except ValueError:  # text that is no UTF-8
            self._send({"t": "emit", "call": call, "kind": kind, "data": {"text": ascii(data)}})


class WorkerPort:
    """`ContextPort` of one call in a live box."""

    def __init__(self, call: RunningCall, requests: Requests, emitter: Emitter) -> None:
        self._call = call
        self._requests = requests
        self._emitter = emitter

    def emit(self, kind: str, data: Any) -> None:
        self._emitter.emit(self._call.id, kind, data)

    def cancelled(self) -> bool:
        return self._call.asks_if_cancelled()

    def request(self, verb: str, arguments: dict[str, Any]) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._requests.start(self._call.id, verb, arguments).result()
        raise RuntimeError(f"context.bus.{verb} blocks: async skills use context.aio.{verb}")

    async def request_async(self, verb: str, arguments: dict[str, Any]) -> Any:
        return await asyncio.wrap_future(self._requests.start(self._call.id, verb, arguments))
