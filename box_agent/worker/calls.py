"""One call inside the worker: what is known of it, and its answer, given once."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from box_agent.worker.frames import Frame
from box_agent.worker.shortage import limit_met
from schemas.errors import BoxhubError, Cancelled, InvalidInput, LimitExceeded, SkillFailed

_FRAMES: Final = 20
Send = Callable[[Frame], None]


@dataclass(eq=False)
class RunningCall:
    """``credit`` is 0 when the caller wants one result, not a stream."""

    id: str
    skill: str
    args: list[Any]
    kwargs: dict[str, Any]
    send: Send
    caller: str = ""
    branch: str = ""
    conversation: str = ""
    task: str = ""
    credit: int = 0
    deadline_at: float | None = None
    cancelled: bool = False
    heard: bool = False
    """The skill knows that it is cancelled: it was raised in it, or it asked. It is not told twice."""
    sequence: int = 0
    _credits: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)
    on_credit: Callable[[], object] | None = None
    answered: bool = False

    @classmethod
    def of(cls, frame: Frame, send: Send) -> RunningCall:
        timeout_s = frame.get("timeout_s")
        call = cls(
            id=frame["id"],
            skill=frame["skill"],
            args=frame.get("args") or [],
            kwargs=frame.get("kwargs") or {},
            send=send,
            caller=frame.get("caller", ""),
            branch=frame.get("branch", ""),
            conversation=frame.get("conversation", ""),
            task=frame.get("task", ""),
            credit=frame.get("credit", 0),
            deadline_at=None if timeout_s is None else time.time() + timeout_s,
        )
        call.give(call.credit)
        return call

    def give(self, credit: int) -> None:
        """The reader takes so many more items. From any thread."""
        for _ in range(credit):
            self._credits.put(None)
        if self.on_credit is not None:
            self.on_credit()

    def take(self) -> None:
        """Wait, in the main thread, until the reader takes one more item."""
        self._credits.get()

    def take_now(self) -> bool:
        """`take` for the event loop: ``False`` when it would have to wait."""
        try:
            self._credits.get_nowait()
        except queue.Empty:
            return False
        return True

    def asks_if_cancelled(self) -> bool:
        """What the skill is told; a yes on the main thread spares it the exception."""
        if self.cancelled and threading.current_thread() is threading.main_thread():
            self.heard = True
        return self.cancelled

    # --- the answer ---------------------------------------------------------------------------------------------------

    def chunk(self, item: Any) -> None:
        self.sequence += 1
        self.send({"t": "chunk", "id": self.id, "seq": self.sequence, "data": item})

    def end(self) -> None:
        self.answered = True
        self.send({"t": "end", "id": self.id})

    def result(self, value: Any) -> None:
        self.answered = True
        try:
            self.send({"t": "result", "id": self.id, "data": value})
        except ValueError as error:  # a lone surrogate, too large
            self.fail(InvalidInput(f"the result of {self.skill!r} cannot travel: {error}", skill=self.skill))

    def fail(self, error: BaseException) -> None:
        self.answered = True
        info = self._error(error).to_info().model_dump(mode="json")
        try:
            self.send({"t": "error", "id": self.id, "error": info})
        except ValueError:  # details that JSON cannot say
            info["details"] = {key: repr(value)[:1000] for key, value in info["details"].items()}
            info["message"] = ascii(info["message"])
            self.send({"t": "error", "id": self.id, "error": info})

    def _error(self, error: BaseException) -> BoxhubError:
        """Errors of the platform as they are; anything else the skill raised as `SkillFailed` with its traceback."""
        if isinstance(error, BoxhubError):
            return error
        if self.cancelled:
            return Cancelled(f"{self.skill} was cancelled", skill=self.skill)
        limit = limit_met(error)
        said = str(error)
        if limit:
            return LimitExceeded(f"{self.skill} met the box's limit {limit!r}: {said}", limit=limit, skill=self.skill)
        return SkillFailed(
            f"{self.skill}: {type(error).__name__}{': ' if said else ''}{said}",
            type=type(error).__name__,
            traceback="".join(traceback.format_exception(error, limit=-_FRAMES)),
            skill=self.skill,
        )
