"""A deadline for code that does not look at clocks: endless loops are common among candidate repairs."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

REPEAT_S = 0.5
"""Code that swallows the first `Overdue` in a bare `except:` gets another one after this long."""


class Overdue(BaseException):
    """The deadline has passed. Not an `Exception`, so that code that catches those does not survive it."""


@dataclass(slots=True)
class Limit:
    """What the block can ask about its deadline: whether it is over, even when the exception got lost."""

    passed: bool = False
    ended: bool = False


@contextmanager
def deadline(seconds: float) -> Iterator[Limit]:
    """Raises `Overdue` inside the block once `seconds` have passed, and again every half second until it ends.

    In the main thread by a signal, which also interrupts blocking system calls; elsewhere as an asynchronous
    exception, which arrives between two bytecodes and so not in a sleep. Neither ends C code that holds on to the
    interpreter, nor a block that catches everything in a loop: who must be sure keeps a process to kill as well.
    An alarm that was set before is set again at the end, with what is left of it; blocks can be nested.
    """
    limited = _by_signal if threading.current_thread() is threading.main_thread() else _by_exception
    with limited(max(seconds, 0.001)) as limit:
        yield limit


@contextmanager
def _by_signal(seconds: float) -> Iterator[Limit]:
    limit = Limit()

    def overdue(signum: int, frame: FrameType | None) -> None:
        if not limit.ended:
            limit.passed = True
            raise Overdue(f"not done within {seconds:g} s")

    already_left, _ = signal.getitimer(signal.ITIMER_REAL)
    if 0.0 < already_left <= seconds:
        yield limit  # the alarm that is set already comes first, and is not ours to put off
        return
    started = time.monotonic()
    old_handler = signal.signal(signal.SIGALRM, overdue)
    old_delay, old_interval = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_S)
    try:
        try:
            yield limit
        finally:
            limit.ended = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, old_handler)
        if old_delay:
            left = old_delay - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), old_interval)


@contextmanager
def _by_exception(seconds: float) -> Iterator[Limit]:
    limit = Limit()
    thread = ctypes.c_ulong(threading.get_ident())
    done = threading.Event()
    sending = threading.Lock()

    def watch() -> None:
        wait_s = seconds
        while not done.wait(wait_s):
            with sending:
                if not limit.ended:
                    limit.passed = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Overdue))
            wait_s = REPEAT_S

    watcher = threading.Thread(target=watch, name="deadline", daemon=True)
    watcher.start()
    try:
        yield limit
    finally:
        with sending:
            limit.ended = True
        # One that was sent and has not arrived yet must not hit the caller after the block.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)
        done.set()
        watcher.join()
