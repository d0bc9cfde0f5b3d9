"""The answer to a call, which may never come: whoever runs the call was killed, or the call itself got lost.

So after a while every instance at the address is asked whether it knows of the call. As long as one does, or none says
anything, the call goes on. When one says that it does not, or the server that nobody listens there, and it is so twice
in a row, the call is lost, and its caller knows seconds later and not at its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from box_agent.bus.replies import CALL, Answer, status_of
from schemas import envelope as envelopes
from schemas.errors import BoxhubError, CallLost, InvalidInput

if TYPE_CHECKING:
    from box_agent.bus.replies import Replies

_LOST_AFTER: Final = 2
"""Denials in a row: whoever runs a call may be cut off for a moment, while another instance is not."""


class AskedAnswer(Answer):
    """``ask(reply)`` sends the question, best effort, every ``ask_s``; answers to it come to ``reply``."""

    __slots__ = ("_ask", "_ask_s", "_asked", "_called", "_denied", "_known", "_lost", "_ticket", "_until")

    def __init__(self, replies: Replies, called: str, ask: Callable[[str], None], ask_s: float) -> None:
        super().__init__(replies, CALL)
        self._called = called
        self._ask = ask
        self._ask_s = ask_s
        self._asked: bytes | None = None
        self._known = False
        self._denied = False
        self._lost = 0
        self._until = 0.0

    async def within(self, timeout_s: float) -> tuple[bytes, bytes | None]:
        """The answer. Raises `TimeoutError`, `CallLost`."""
        deadlines = self._replies.deadlines
        self._until = asyncio.get_running_loop().time() + timeout_s
        self._ticket = deadlines.add(self, min(timeout_s, self._ask_s))
        try:
            return await self.future
        finally:
            deadlines.remove(self, self._ticket)

    def forget(self) -> None:
        super().forget()
        if self._asked is not None:
            self._replies.forget(self._asked)

    def expire(self) -> None:
        """It is time to ask, or time is up."""
        left = self._until - asyncio.get_running_loop().time()
        self._lost = self._lost + 1 if self._denied and not self._known else 0
        if left <= 0:
            super().expire()
        elif self._lost == _LOST_AFTER:
            said = f"{self._called}: nobody there knows of this call any more; it may have been carried out"
            self.fail(CallLost(said, call=self._called))
        else:
            self._ticket = self._replies.deadlines.add(self, min(left, self._ask_s))
            self._ask_again()

    def _ask_again(self) -> None:
        self._known = self._denied = False
        if self._asked is not None:
            self._replies.forget(self._asked)
        self._asked, reply = self._replies.expect(_Question(self))
        self._ask(reply)

    def told(self, *, known: bool) -> None:
        """By one of those that were asked."""
        if known:
            self._known = True
        else:
            self._denied = True


class _Question:
    """What comes of asking once."""

    __slots__ = ("_answer",)

    def __init__(self, answer: AskedAnswer) -> None:
        self._answer = answer

    def feed(self, data: bytes, headers: bytes | None) -> None:
        if status_of(headers) == 503:
            self._answer.told(known=False)
            return
        try:
            said = envelopes.decode(data).data
        except InvalidInput:
            return  # as good as no answer
        if isinstance(said, dict) and isinstance(said.get("known"), bool):
            self._answer.told(known=said["known"])

    def fail(self, error: BoxhubError) -> None:
        """The connection is closed, which the call is told."""
