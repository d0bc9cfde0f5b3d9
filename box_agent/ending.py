"""Cancels: clean-up that one must not leave half-way, and work of others that must not lose one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def to_the_end(work: Awaitable[_T]) -> _T:
    """Its result. When its caller is cancelled meanwhile, however often, it is cancelled once the work is done.

    ``work`` must be bounded in time.
    """
    doing, cancelled = asyncio.ensure_future(work), False
    while not doing.done():
        try:
            await asyncio.wait({doing})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return doing.result()


async def cancellable(work: Awaitable[_T]) -> _T:
    """Its result; `asyncio.CancelledError` whenever its caller is cancelled, and ``work`` has ended then.

    For what libraries do by `asyncio.wait_for`, which before Python 3.12 forgets a cancel that comes together with the
    result: whoever was cancelled would go on as if nothing had been.
    """
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.wait({doing})
    except asyncio.CancelledError:
        doing.cancel()
        await asyncio.wait({doing})
        raise
    return doing.result()
