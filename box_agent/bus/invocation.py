"""How a user's handler is run: a coroutine function on the loop, any other function in a thread."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from box_agent.bus.threads import Threads
from schemas.errors import BoxhubError, ErrorInfo, HandlerFailed

Handler = Callable[[Any], Any]
_FRAMES = 20


def handler_name(handler: Handler) -> str:
    """Where the handler was defined, for logs and dead letters."""
    target = inspect.unwrap(handler)
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', repr(target))}"


def is_async(handler: Handler) -> bool:
    target: Any = handler
    while hasattr(target, "func"):
        target = target.func
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
        getattr(target, "__call__", None)  # noqa: B004 - an instance with an async __call__
    )


def runner(handler: Handler, threads: Threads) -> Callable[[Any], Awaitable[Any]]:
    """``handler`` as something to await. Checked once, so that a message costs nothing more."""
    if is_async(handler):
        return handler

    async def run(received: Any) -> Any:
        result = await threads.run(handler, received)
        return await result if inspect.isawaitable(result) else result

    return run


def failure_info(error: Exception) -> ErrorInfo:
    """What went wrong in a handler, with its traceback; errors of the platform keep their class."""
    text = "".join(traceback.format_exception(error, limit=-_FRAMES))
    if isinstance(error, BoxhubError):
        info = error.to_info()
        return info.model_copy(update={"details": {**info.details, "traceback": text}})
    said = str(error)
    return HandlerFailed(
        f"{type(error).__name__}: {said}" if said else type(error).__name__,
        type=type(error).__name__,
        traceback=text,
    ).to_info()
