"""Checks of what comes from outside; each raises a typed error that says what, which and how much is allowed."""

from __future__ import annotations

import json
from typing import Any

from schemas.errors import InvalidInput, PayloadTooLarge


def at_most(limit: int, allowed: int, what: str = "limit") -> int:
    """``limit`` if it is between 1 and ``allowed``."""
    if not 1 <= limit <= allowed:
        raise InvalidInput(f"{what} {limit}: use 1 to {allowed}")
    return limit


def count(number: int, allowed: int, what: str) -> None:
    if number > allowed:
        raise InvalidInput(f"{number} {what}, {allowed} are allowed at once", limit=allowed)


def json_size(value: Any, allowed: int, what: str) -> None:
    """Whether ``value`` is JSON of at most ``allowed`` bytes."""
    try:
        size = len(json.dumps(value, separators=(",", ":"), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} is not JSON: {error}") from error
    bytes_of(size, allowed, what)


def bytes_of(size: int, allowed: int, what: str) -> None:
    if size > allowed:
        raise PayloadTooLarge(
            f"{what} has {size} bytes, {allowed} are allowed; put large content into a blob",
            size_bytes=size,
            limit_bytes=allowed,
        )


def length(text: str, allowed: int, what: str) -> None:
    if len(text) > allowed:
        raise InvalidInput(f"{what} has {len(text)} characters, {allowed} are allowed")
