"""Waiting for what another process does, where nothing announces it: looked at often, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(true: Callable[[], object], timeout_s: float = 15.0) -> None:
    """Returns as soon as ``true()`` is. Raises `TimeoutError`."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - other processes have no event to wait for
            await asyncio.sleep(0.01)
