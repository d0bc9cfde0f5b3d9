"""Agents for tests, and things to wait on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Generic, Self, TypeVar

from box_agent import aio
from box_agent.config import AgentSettings

T = TypeVar("T")
MIB = 1024**2


def settings(**changes: Any) -> AgentSettings:
    """Fast retries, and streams small enough that hundreds of tenants fit on one server."""
    sizes = dict.fromkeys(("events_max_bytes", "inbox_max_bytes", "dead_max_bytes", "reports_max_bytes"), 16 * MIB)
    return AgentSettings(**{"retry_initial_s": 0.01, "close_timeout_s": 2.0, **sizes, **changes})


class Agents(AsyncExitStack):
    """``await agents("planner")`` joins; leaving closes all of them, the last one first."""

    def __init__(self, url: str, tenant: str) -> None:
        super().__init__()
        self.url = url
        self.tenant = tenant

    async def __call__(self, name: str, **changes: Any) -> aio.Agent:
        connecting = aio.connect(name, url=self.url, tenant=self.tenant, settings=settings(**changes))
        return await self.enter_async_context(connecting)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self


class Seen(Generic[T]):
    """A handler that keeps what it got and can be waited on."""

    def __init__(self, take: Callable[[Any], T]) -> None:
        self._take = take
        self.items: list[T] = []
        self._changed = asyncio.Condition()

    async def __call__(self, received: Any) -> None:
        async with self._changed:
            self.items.append(self._take(received))
            self._changed.notify_all()

    async def wait(self, count: int, timeout_s: float = 20.0) -> list[T]:
        """The items once there are ``count``."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.items) >= count)
        return list(self.items)


def data_of(received: Any) -> Any:
    return received.data


async def eventually(check: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """The first true value ``check`` gives, for things that announce nothing."""
    async with asyncio.timeout(timeout_s):
        while True:
            value = check()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.02)
