"""Calls into libc and the kernel that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments: Any, about: str = "") -> int:
    """Raises ``OSError`` that says which call failed, and on what."""
    return _checked(getattr(_libc, name)(*arguments), name, about)


def syscall(number: int, name: str, *arguments: Any, about: str = "") -> int:
    """By number, for what libc has no function for. Raises as `call` does."""
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments), name, about)


def _checked(result: int, name: str, about: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}({about}): {os.strerror(error)}")
    return result
