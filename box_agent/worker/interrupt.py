"""Cancelling what runs in the main thread: an exception is raised in it by a signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from box_agent.worker.calls import RunningCall

_SIGNAL: Final = signal.SIGRTMIN + 5


class CallCancelled(BaseException):
    """Raised inside a skill whose call was cancelled; no ``Exception``, so that ``except Exception`` lets it pass."""


class Interrupts:
    """At most one call is armed; `cancel` raises in it, unless it has `heard` of it already. Made in the main thread,
    where the raising happens.

    Sleeping, waiting for a lock and blocking I/O end at once; a busy loop ends at its next bytecode; C code that
    neither returns nor releases the interpreter is only ended by killing the process.
    """

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._armed: RunningCall | None = None
        self._wanted: RunningCall | None = None
        self._shielded = 0
        signal.signal(_SIGNAL, self._on_signal)

    def arm(self, call: RunningCall) -> None:
        """From here to `disarm` the call may be raised in. A cancel that came before is for the caller to look up."""
        self._armed = call

    def disarm(self) -> None:
        self._armed = None

    def cancel(self, call: RunningCall) -> None:
        """From any thread; does nothing when another call is armed, or none."""
        if self._armed is call:
            self._wanted = call
            signal.pthread_kill(self._main, _SIGNAL)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Nothing is raised inside, as half a frame on the wire would be the end of the box; it is raised behind."""
        if threading.get_ident() != self._main:
            yield
            return
        self._shielded += 1
        try:
            yield
        finally:
            self._shielded -= 1
        self._raise_if_wanted()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._raise_if_wanted()

    def _raise_if_wanted(self) -> None:
        call = self._armed
        if call is not None and call is self._wanted and not call.heard and not self._shielded:
            call.heard = True
            raise CallCancelled
