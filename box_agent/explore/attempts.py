"""Tries made by tasks on a pool of boxes, or in a live box each. Both end what they began when they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from box_agent.context.open_branch import OpenBranch
from box_agent.ending import to_the_end
from box_agent.explore.trial import Trial
from schemas.errors import TerminalState
from schemas.ids import new_id

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from box_agent.live import LiveBox

_PROOF_S: Final = 60.0
"""A node that is gone is given up, and the proof is there, well before."""

Attempt = Callable[[OpenBranch, Trial], Awaitable[Any]]
Arguments = Mapping[str, Any] | Callable[[Trial], Mapping[str, Any]]


def on_pool(agent: Agent, box: Any, skill: str, arguments: Arguments | None = None, **fields: Any) -> Attempt:
    """Each try is a durable task for ``skill`` of ``box``, in a fresh live box on the try's branch.

    ``arguments`` may depend on the trial. ``fields`` are those of `Agent.delegate`. Cancelled, it returns when it is
    proved that the task does not run any more.
    """

    async def attempt(branch: OpenBranch, trial: Trial) -> Any:
        id = new_id("task")
        delegating = asyncio.ensure_future(
            agent.delegate(box, skill, _given(arguments, trial), id=id, branch=branch.id, **fields)
        )
        try:
            handle = await asyncio.shield(delegating)
            return await handle.result()
        except asyncio.CancelledError:
            await to_the_end(_proved_ended(agent, delegating))
            raise

    return attempt


def in_boxes(agent: Agent, box: Any, skill: str, arguments: Arguments | None = None, **options: Any) -> Attempt:
    """Each try is one call of ``skill`` in a live box of its own, whose working directory has the branch's files.

    ``options`` are those of `Agent.spawn`. The box is stopped, and its files are the branch's, when the try ends.
    """
    timeout_s = options.pop("call_timeout_s", 300.0)

    async def attempt(branch: OpenBranch, trial: Trial) -> Any:
        spawning = asyncio.ensure_future(agent.spawn(box, branch=branch.id, **options))
        try:
            live = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            await to_the_end(_stopped(spawning))
            raise
        async with live:
            return await live.call(skill, timeout_s=timeout_s, **_given(arguments, trial))

    return attempt


def _given(arguments: Arguments | None, trial: Trial) -> dict[str, Any]:
    return dict(arguments(trial) if callable(arguments) else arguments or {})


async def _stopped(spawning: asyncio.Future[LiveBox]) -> None:
    """It may be there although nobody waited for it."""
    await (await spawning).stop("another try was better")


async def _proved_ended(agent: Agent, delegating: asyncio.Future[Any]) -> None:
    handle = await delegating  # it may have been accepted although nobody waited for that any more
    try:
        await handle.cancel("another try was better")
    except TerminalState:
        return
    task = await agent.tasks.wait(handle.id, _PROOF_S)
    if not task.terminal:
        agent.connection.faults.report("try_not_ended", task=handle.id, seconds=_PROOF_S)
