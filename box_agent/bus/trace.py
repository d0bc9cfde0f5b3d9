"""The W3C ``traceparent`` a handler runs in; what it sends carries it on."""

from __future__ import annotations

import re
from contextvars import ContextVar, Token

_current: ContextVar[str | None] = ContextVar("boxhub_traceparent", default=None)
_VALID = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MARK = b"traceparent: "


def current() -> str | None:
    """The trace of the running handler, or of whoever called `use`."""
    return _current.get()


def use(traceparent: str | None) -> Token[str | None]:
    """Everything sent from this context carries ``traceparent``. Undo with `reset`. Ignores malformed ones."""
    if traceparent is not None and _VALID.fullmatch(traceparent) is None:
        traceparent = None
    return _current.set(traceparent)


def reset(token: Token[str | None]) -> None:
    _current.reset(token)


def from_headers(headers: bytes | None) -> str | None:
    """The ``traceparent`` in an encoded header block."""
    if headers is None:
        return None
    start = headers.find(_MARK)
    if start < 0:
        return None
    end = headers.find(b"\r\n", start)
    return bytes(headers[start + len(_MARK) : end]).decode("ascii", "replace")


def header_block(message_id: str | None = None) -> bytes | None:
    """The encoded headers of what is sent from here: ``Nats-Msg-Id`` and ``traceparent``, or none at all."""
    trace = _current.get()
    if message_id is None:
        return None if trace is None else b"NATS/1.0\r\ntraceparent: %b\r\n\r\n" % trace.encode()
    if trace is None:
        return b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % message_id.encode()
    return b"NATS/1.0\r\nNats-Msg-Id: %b\r\ntraceparent: %b\r\n\r\n" % (message_id.encode(), trace.encode())
