"""Answers: one subscription for all of them, told apart by the last token of the reply subject."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from schemas.errors import BoxhubError
from schemas.ids import new_id

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection


CALL: Final = b"call."
"""Before the number in the reply subject of a call: ``_I.<caller>.<id>.call.<number>``."""
ANSWERS_TO_CALLS: Final = "_I.*.*.call.*"
"""What an observer listens to. It must not listen to the calls: the server would take it for somebody who answers them,
and their callers would no longer hear at once that nobody is there."""


class Expectation(Protocol):
    """Whoever waits for what arrives on a reply subject."""

    def feed(self, data: bytes, headers: bytes | None) -> None: ...

    def fail(self, error: BoxhubError) -> None:
        """The connection was closed; nothing more arrives."""
        ...


def status_of(headers: bytes | None) -> int:
    """The server's status in a header block, such as 503 (no responders); 0 when there is none."""
    if headers is None or headers[8:9] != b" ":
        return 0
    code = bytes(headers[9:12])
    return int(code) if code.isdigit() else 0


class Answer:
    """One expected answer: ``future`` gets ``(data, headers)``."""

    __slots__ = ("_replies", "future", "subject", "token")

    def __init__(self, replies: Replies, to: bytes = b"") -> None:
        self._replies = replies
        self.future: asyncio.Future[tuple[bytes, bytes | None]] = asyncio.get_running_loop().create_future()
        self.token, self.subject = replies.expect(self, to)

    def feed(self, data: bytes, headers: bytes | None) -> None:
        if not self.future.done():
            self.future.set_result((data, headers))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    async def within(self, timeout_s: float) -> tuple[bytes, bytes | None]:
        """The answer, or `TimeoutError`. The caller calls `forget` when it has no more use for it."""
        deadlines = self._replies.deadlines
        ticket = deadlines.add(self, timeout_s)
        try:
            return await self.future
        finally:
            deadlines.remove(self, ticket)

    def forget(self) -> None:
        self._replies.forget(self.token)

    def expire(self) -> None:
        self.fail(TimeoutError())


class Replies:
    """Hands out reply subjects and brings what arrives there to whoever expects it. Late answers are dropped."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self.deadlines = connection.deadlines
        self._prefix = f"{prefix}.{new_id('r')}."
        self._skip = len(self._prefix)
        self._expected: dict[bytes, Expectation] = {}
        self._next = 0

    async def open(self) -> None:
        await self._connection.subscribe(self._prefix + ">", self._dispatch)

    def expect(self, expectation: Expectation, to: bytes = b"") -> tuple[bytes, str]:
        """A token and its reply subject; everything that arrives there is fed to ``expectation`` until `forget`.

        ``to`` is `CALL` for answers to calls: an observer can then listen to those alone.
        """
        self._next += 1
        token = b"%b%d" % (to, self._next)
        self._expected[token] = expectation
        return token, self._prefix + token.decode()

    def forget(self, token: bytes) -> None:
        self._expected.pop(token, None)

    @property
    def single(self) -> bool:
        """No more than one answer is awaited: whoever asks is alone."""
        return len(self._expected) <= 1

    async def request(
        self, subject: str, body: bytes, *, timeout_s: float, headers: bytes | None = None
    ) -> tuple[bytes, bytes | None]:
        """One message out, one back. Raises `TimeoutError`; the caller looks at `status_of` the headers."""
        answer = Answer(self)
        try:
            self._connection.send(subject, body, answer.subject, headers)
            return await answer.within(timeout_s)
        finally:
            answer.forget()

    def fail(self, error: BoxhubError) -> None:
        """The connection is closed for good."""
        for expectation in list(self._expected.values()):
            expectation.fail(error)
        self._expected.clear()

    def _dispatch(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        expectation = self._expected.get(subject[self._skip :])
        if expectation is not None:
            expectation.feed(data, headers)
