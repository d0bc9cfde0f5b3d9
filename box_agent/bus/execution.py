"""Running a skill to its end. An end is an end: cancelled, these wait until the function has really returned."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from schemas.errors import BoxhubError, SkillFailed

if TYPE_CHECKING:
    from box_agent.bus.skills import CallInfo, Skill
    from box_agent.bus.threads import Threads

_FRAMES = 20
_END = object()


async def complete(skill: Skill, run: Callable[[], Any], call: CallInfo, threads: Threads) -> Any:
    """The JSON-able result; of a streaming skill the list of its items.

    Cancelled: a coroutine is cancelled and awaited; a function in a thread is asked to stop (`Context.cancelled`) and
    awaited. Cancelled once more, the wait for a thread is given up and the function left to itself.
    """
    if skill.kind == "async":
        return skill.result(await run())
    if skill.kind == "sync":
        value = await _in_thread(run, call, threads)
        return skill.result(await value if inspect.isawaitable(value) else value)
    return [item async for item in items(skill, run, call, threads)]


async def items(skill: Skill, run: Callable[[], Any], call: CallInfo, threads: Threads) -> AsyncIterator[Any]:
    """The JSON-able items of a streaming skill; of another one its single result. Close it to stop the skill."""
    match skill.kind:
        case "async_generator":
            generator = run()
            try:
                async for item in generator:
                    yield skill.result(item)
            finally:
                await generator.aclose()
        case "generator":
            generator = run()
            try:
                while (item := await _in_thread(lambda: next(generator, _END), call, threads)) is not _END:
                    yield skill.result(item)
            finally:
                await _in_thread(generator.close, call, threads)
        case _:
            yield await complete(skill, run, call, threads)


async def _in_thread(function: Callable[[], Any], call: CallInfo, threads: Threads) -> Any:
    future = threads.start(function)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        call.cancellation.request()
        if not future.done():
            await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # seen: its caller has been told of the cancellation instead
        raise


def skill_error(error: Exception, call: CallInfo) -> BoxhubError:
    """What the caller gets: errors of the platform as they are, any other as `SkillFailed` with its traceback."""
    if isinstance(error, BoxhubError):
        return error
    said = str(error)
    return SkillFailed(
        f"{call.address}.{call.skill}: {type(error).__name__}{': ' if said else ''}{said}",
        type=type(error).__name__,
        traceback="".join(traceback.format_exception(error, limit=-_FRAMES)),
        box=call.address,
        skill=call.skill,
    )
