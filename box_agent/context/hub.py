"""One call to the hub, and streams of it that come back after an interruption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

from schemas.errors import BoxNotFound, BusUnavailable, CallLost, DeadlineExceeded, Unavailable
from schemas.model import Model
from schemas.subjects import HUB

M = TypeVar("M", bound=Model)
_CALL_S = 30.0
_WATCH_S = 300.0
_PAUSE_S = 0.2
PATIENCE_S = 10.0
"""A hub that was killed answers again after about three seconds."""


class Caller(Protocol):
    """What a client needs of an agent."""

    def call(self, box: str, skill: str, /, *args: Any, timeout_s: float = ..., **kwargs: Any) -> Any: ...

    def stream(
        self, box: str, skill: str, /, *args: Any, timeout_s: float = ..., **kwargs: Any
    ) -> AsyncIterator[Any]: ...


class Hub:
    """Calls the hub's skills as ``caller``."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def call(self, skill: str, *, timeout_s: float = _CALL_S, repeat: bool = True, **arguments: Any) -> Any:
        """The result. Raises `Unavailable` when no hub answers, and whatever the hub raises.

        While nobody listens the call was not delivered, so it is made again for up to ``PATIENCE_S``: a hub that is
        being restarted is a delay and not an error. Nor is one that was killed in the midst of the call, unless
        that must not be made again (``repeat``), because twice is not the same as once: then `CallLost` is raised.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + min(PATIENCE_S, timeout_s)
        while True:
            try:
                return await self._caller.call(HUB, skill, timeout_s=timeout_s, **arguments)
            except BoxNotFound as error:
                if error.details.get("box") != HUB:
                    raise
                if loop.time() + _PAUSE_S >= until:
                    raise no_hub() from error
            except CallLost:
                if not repeat:
                    raise
                until = loop.time() + min(PATIENCE_S, timeout_s)
            await asyncio.sleep(_PAUSE_S)

    async def one(
        self, model: type[M], skill: str, *, timeout_s: float = _CALL_S, repeat: bool = True, **arguments: Any
    ) -> M:
        return model.model_validate(await self.call(skill, timeout_s=timeout_s, repeat=repeat, **arguments))

    async def many(self, model: type[M], skill: str, *, timeout_s: float = _CALL_S, **arguments: Any) -> list[M]:
        rows = await self.call(skill, timeout_s=timeout_s, **arguments)
        return [model.model_validate(row) for row in rows]

    async def stream(self, skill: str, *, timeout_s: float = _WATCH_S, **arguments: Any) -> AsyncIterator[Any]:
        """The items of one streaming call; it ends with the call."""
        try:
            async for item in self._caller.stream(HUB, skill, timeout_s=timeout_s, **arguments):
                yield item
        except BoxNotFound as error:
            if error.details.get("box") != HUB:
                raise
            raise no_hub() from error


async def interrupted(error: Exception, deadline: float | None = None) -> None:
    """Pause before a stream that broke is opened again. Raises ``error`` if it cannot mend or it is too late."""
    if not isinstance(error, (Unavailable, DeadlineExceeded)):
        raise error
    if deadline is not None and asyncio.get_running_loop().time() + _PAUSE_S >= deadline:
        raise error
    if not isinstance(error, DeadlineExceeded):
        await asyncio.sleep(_PAUSE_S)


def no_hub() -> BusUnavailable:
    return BusUnavailable("no hub answers on this bus; start one with `boxhub up`", box=HUB)
