"""Tasks that run while a block runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def background() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` out of which the block's own exception comes as itself, not in a group.

    So whoever opens and closes a service sees the same errors with or without tasks behind it. A task that fails still
    cancels the block and comes out in an ``ExceptionGroup``.
    """
    own: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            try:
                yield group
            except Exception as error:
                own = error
                raise
    except BaseExceptionGroup as failed:
        if own is not None and failed.exceptions == (own,):
            raise own from own.__cause__
        raise
