"""The JetStream API over our own connection: one request, one typed answer, one typed error.

nats-py's JetStreamContext would do for most of it, but it is tied to one client, and ours may be rebuilt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from box_agent.bus.replies import status_of
from schemas.errors import BoxhubError, BusUnavailable

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection

STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
CONSUMER_EXISTS = (10148, 10105)
NO_MESSAGE = 10037
DELETE_FAILED = 10057
STREAM_NAME_IN_USE = 10058
SUBJECTS_OVERLAP = 10065

_TRY_S = 2.0
_PAUSE_S = 0.1
_CREATE_TRIES = 5


class JetStreamError(BoxhubError):
    """The server refused an API request; ``api_code`` is its own number."""

    code = "jetstream_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.api_code: int = details.get("api_code", 0)
        self.status: int = details.get("status", 0)


_decoder = msgspec.json.Decoder(dict[str, Any])


async def api(connection: Connection, subject: str, request: Any = None, *, timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask ``$JS.API.<subject>``. Only for requests that may be repeated: an unanswered one is sent again.

    Raises `JetStreamError` with the server's code, `BusUnavailable` after ``timeout_s``.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    body = msgspec.json.encode(request) if request is not None else b""
    while True:
        left = deadline - loop.time()
        if left <= 0:
            raise BusUnavailable(f"JetStream does not answer {subject} within {timeout_s:g} s")
        await connection.wait_connected(left)
        try:
            data, headers = await connection.replies.request(f"$JS.API.{subject}", body, timeout_s=min(_TRY_S, left))
        except TimeoutError:
            continue
        if status_of(headers) == 503:  # JetStream is not up yet, after a restart
            await asyncio.sleep(_PAUSE_S)
            continue
        answer = _decoder.decode(data)
        error = answer.get("error")
        if error is None:
            return answer
        if error.get("code") == 503:
            await asyncio.sleep(_PAUSE_S)
            continue
        raise JetStreamError(
            f"{subject}: {error.get('description', 'refused')}",
            api_code=error.get("err_code", 0),
            status=error.get("code", 0),
        )


async def find_or_create(connection: Connection, config: dict[str, Any]) -> dict[str, Any]:
    """The stream of that name as it is, made from ``config`` when there is none. Several may ask at once."""
    name = config["name"]
    tries = 0
    while True:
        try:
            return await api(connection, f"STREAM.INFO.{name}")
        except JetStreamError as error:
            if error.api_code != STREAM_NOT_FOUND:
                raise
        try:
            return await api(connection, f"STREAM.CREATE.{name}", config)
        except JetStreamError as error:
            # Another was faster. Servers before 2.10 say for a moment that the subjects overlap: with the same stream.
            if error.api_code not in (STREAM_NAME_IN_USE, SUBJECTS_OVERLAP) or tries == _CREATE_TRIES:
                raise
        tries += 1
        await asyncio.sleep(_PAUSE_S)


async def next_message(connection: Connection, stream: str, filter: str, sequence: int) -> dict[str, Any] | None:
    """The first stored message at or after ``sequence`` whose subject matches, if there is one."""
    return await stored_message(connection, stream, {"seq": sequence, "next_by_subj": filter})


async def stored_message(connection: Connection, stream: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The message, as the server's ``STREAM.MSG.GET`` gives it, if it is there.

    A server before 2.10 dies when it is asked this of a stream that is being made just now, which has no store yet. So
    it is asked of streams only that were seen to hold messages. Raises `JetStreamError` when there is no such stream.
    """
    try:
        if stream not in connection.filled:
            if not (await api(connection, f"STREAM.INFO.{stream}"))["state"]["messages"]:
                return None
            connection.filled.add(stream)
        answer = await api(connection, f"STREAM.MSG.GET.{stream}", wanted)
    except JetStreamError as error:
        if error.api_code == NO_MESSAGE:
            return None
        connection.filled.discard(stream)
        raise
    message: dict[str, Any] = answer["message"]
    return message
