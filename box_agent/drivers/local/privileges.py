"""Giving privileges up for good."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Final

from box_agent.drivers.local.libc import call

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_LOCKED_SECUREBITS: Final = 0x2F
"""No capabilities by being uid 0, none kept over setuid, none ambient; and nobody turns that back."""
_NONE: Final = ctypes.c_ulong(0)
_CAPABILITY_VERSION: Final = 0x20080522
_HEADER: Final = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
_NO_CAPABILITY: Final = (ctypes.c_uint32 * 6)()


def become(identity: int) -> None:
    """From root to an ordinary user and group, for good. ``/proc/self`` stays ours to write."""
    os.setgroups([])
    os.setresgid(identity, identity, identity)
    os.setresuid(identity, identity, identity)
    open_to_inspection(True)


def open_to_inspection(yes: bool) -> None:
    """Whether processes of the same user may look into this one, and itself into ``/proc/self``."""
    _prctl("dumpable", _PR_SET_DUMPABLE, int(yes))


def end_with_parent(signal_number: int) -> None:
    _prctl("pdeathsig", _PR_SET_PDEATHSIG, signal_number)


def be_ended_first() -> None:
    """With all that it starts, before any other process, where the kernel has to end one for its memory."""
    Path("/proc/self/oom_score_adj").write_text("500")


def gain_nothing_by_exec() -> None:
    _prctl("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """All of them, from every set, and every way to have one again."""
    _prctl("securebits", _PR_SET_SECUREBITS, _LOCKED_SECUREBITS)
    for capability in range(last_capability() + 1):
        _prctl("capbset", _PR_CAPBSET_DROP, capability)
    _prctl("ambient", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    call("capset", _HEADER, _NO_CAPABILITY)


@cache
def last_capability() -> int:
    """Of this kernel. Asked before a fork, it is known in the child."""
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def _prctl(what: str, option: int, value: int) -> None:
    call("prctl", option, ctypes.c_ulong(value), _NONE, _NONE, _NONE, about=what)
