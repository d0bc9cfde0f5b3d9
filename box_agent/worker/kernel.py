"""What the kernel offers and Python does not wrap."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_SIG_SETMASK: Final = 2
_SFD_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)
_holding_the_interpreter = ctypes.PyDLL(None, use_errno=True)


def _signals(fill: str) -> ctypes.Array[ctypes.c_char]:
    made = ctypes.create_string_buffer(128)
    getattr(_libc, fill)(made)
    return made


_NO_SIGNAL: Final = _signals("sigemptyset")
_ALL_SIGNALS: Final = _signals("sigfillset")
_END_OF_CHILD: Final = _signals("sigemptyset")
_libc.sigaddset(_END_OF_CHILD, signal.SIGCHLD.value)
"""Made once: every box uses them in memory that it shares with its template."""


def die_with_parent(parent: int) -> None:
    """Get SIGKILL when the parent ends; at once when it has ended already (it was ``parent``)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process, so none gets lost."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def bare_fork() -> int:
    """``os.fork`` of a process with one thread, without what Python and its libraries do after one.

    That writes to 0.7 MB of memory which parent and child would otherwise share. The child may go on as it is when it
    runs no code but ours and has no use for random numbers, locks of libraries, imports or logs; else `after_fork` is
    the first thing it does.
    """
    pid: int = _checked(_holding_the_interpreter.fork(), "fork")
    return pid


def after_fork() -> None:
    """In the child of a `bare_fork`: all that ``os.fork`` would have done, in parent and child.

    What ``os.register_at_fork`` has to run before a fork runs here, in what is the parent's exact image still.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    ctypes.pythonapi.PyOS_AfterFork_Child()


def block_all_signals() -> None:
    """No handler runs from here on, whoever installed it."""
    _checked(_libc.sigprocmask(_SIG_SETMASK, _ALL_SIGNALS, None), "sigprocmask")


def block_ends_of_children() -> None:
    """SIGCHLD, and no other signal: for who reads `ends_of_children`."""
    _checked(_libc.sigprocmask(_SIG_SETMASK, _END_OF_CHILD, None), "sigprocmask")


def unblock_signals() -> None:
    """For code that is not ours."""
    _checked(_libc.sigprocmask(_SIG_SETMASK, _NO_SIGNAL, None), "sigprocmask")


def ends_of_children() -> int:
    """A descriptor that is readable when a child has ended since it was read last, while SIGCHLD is blocked."""
    return _checked(_libc.signalfd(-1, _END_OF_CHILD, _SFD_FLAGS), "signalfd")


def _prctl(option: int, value: int) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl({option})")


def _checked(result: int, name: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result
