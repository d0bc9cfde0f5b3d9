"""One box of this node: its process, its address on the bus, its branch, and the limits of its life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from box_agent.bus.skills import CallInfo, ForwardedSkill
from box_agent.driver import CallRequest, Handle
from schemas.box import LiveBox, Policy, SpawnRequest
from schemas.errors import BoxDied, BoxhubError, BoxNotFound, Cancelled, LimitExceeded, SkillFailed, Unavailable
from schemas.model import timestamp
from schemas.node import DriverInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from box_agent.agent import Agent
    from box_agent.node.mounts import Mount
    from box_agent.runner import Attempt

Limit = Literal["wall_s", "idle_s"]


def reaches(policy: Policy, driver: DriverInfo) -> str:
    """What a box of this driver can get at, beyond its own files, as it is and not as it was wished."""
    if driver.isolation == "none":
        return "whatever its node can"
    network = {
        "none": "no network",
        "loopback": ", ".join(f"127.0.0.1:{port}" for port in sorted(policy.ports)) or "no network",
        "full": "the machine's network",
    }[policy.network]
    return "; ".join([network, *(f"reads {mount.source}" for mount in policy.mounts)])


class HostedBox:
    """``ready`` is done when it takes calls, or failed with why it never will; ``ending`` from its end's beginning."""

    def __init__(self, request: SpawnRequest, directory: Path, node: str, attempt: Attempt | None = None) -> None:
        self.request = request
        self.directory = directory
        self.attempt = attempt
        """The one it was made for; it takes the box's output."""
        self.agent: Agent | None = None
        self.handle: Handle | None = None
        self.mount: Mount | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.making: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None
        self.unsaved: BoxhubError | None = None
        """Why the files could not be brought back to the branch."""
        self.calls: dict[str, tuple[CallRequest, Attempt | None]] = {}
        self.exceeded: LimitExceeded | None = None
        self._timers: dict[Limit, asyncio.TimerHandle] = {}
        self._idle_since = 0.0
        definition = request.definition
        self.record = LiveBox(
            id=request.id,
            kind="live",
            box=definition.name,
            fingerprint=definition.fingerprint,
            state="starting",
            node=node,
            branch=request.branch,
            owner=request.owner,
            skills=definition.skills,
            description=definition.description,
            started_at=timestamp(),
        )

    @property
    def id(self) -> str:
        return self.request.id

    def live(self) -> LiveBox:
        """What the heartbeat says of it."""
        self.record.calls = len(self.calls)
        self.record.heartbeat_at = timestamp()
        return self.record

    # --- start ---------------------------------------------------------------------------------------------------

    def attached(self, agent: Agent, driver: DriverInfo) -> None:
        """It has its address; what it asks for goes out from there."""
        self.agent = agent
        self.record.instance = agent.instance
        self.record.driver = driver.name
        self.record.isolation = driver.isolation
        self.record.branching = driver.branching
        self.record.reaches = reaches(self.request.definition.policy, driver)

    def serve(self, handle: Handle) -> None:
        """Its process is ready: take calls."""
        assert self.agent is not None
        self.handle = handle
        self.record.pid = handle.pid
        self.record.state = "ready"
        for spec in self.request.definition.skills:
            self.agent.add_skill(ForwardedSkill(spec, self._stream if spec.streaming else self._call))

    # --- calls ---------------------------------------------------------------------------------------------------

    async def call(self, request: CallRequest, attempt: Attempt | None = None) -> Any:
        """The result of one skill call; of a streaming skill the list of its items. Raises as `Handle.call` does.

        Raises `LimitExceeded` when the box was ended by its limits, `BoxDied` when it was stopped meanwhile,
        `BoxNotFound` when it is about to end.
        """
        streaming = any(spec.streaming for spec in self.request.definition.skills if spec.name == request.skill)
        with self._running(request, attempt) as handle:
            if not streaming:
                return await handle.call(request)
            items = handle.stream(request)
            try:
                return [item async for item in items]
            finally:
                await items.aclose()  # type: ignore[attr-defined]

    async def stream(self, request: CallRequest, credit: int) -> AsyncIterator[Any]:
        with self._running(request, None) as handle:
            items = handle.stream(request, credit)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()  # type: ignore[attr-defined]

    async def _call(self, args: list[Any], kwargs: dict[str, Any], call: CallInfo) -> Any:
        return await self.call(self._asked(args, kwargs, call))

    async def _stream(self, args: list[Any], kwargs: dict[str, Any], call: CallInfo) -> AsyncIterator[Any]:
        assert self.agent is not None
        items = self.stream(self._asked(args, kwargs, call), self.agent.settings.stream_credit)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()  # type: ignore[attr-defined]

    def _asked(self, args: list[Any], kwargs: dict[str, Any], call: CallInfo) -> CallRequest:
        left = None if call.deadline_at is None else max(0.001, call.deadline_at - time.time())
        return CallRequest(call.id, call.skill, args, kwargs, call.caller, left, self.request.branch)

    @contextmanager
    def _running(self, request: CallRequest, attempt: Attempt | None) -> Iterator[Handle]:
        if self.handle is None or self.record.state != "ready":
            raise BoxNotFound(f"box {self.id!r} is {self.record.state}", box=self.id)
        self.calls[request.id] = (request, attempt)
        try:
            yield self.handle
        except (BoxDied, Cancelled, Unavailable) as error:
            if self.exceeded is not None:
                raise self.exceeded from error
            if self.ending is not None and not isinstance(error, BoxDied):
                why = self.record.reason or "it was asked to"
                raise BoxDied(f"box {self.id!r} was stopped in the call: {why}", box=self.id) from error
            raise
        except SkillFailed as error:
            error.details = {**error.details, "box": self.id, "skill": request.skill}
            raise
        finally:
            del self.calls[request.id]
            self._idle_since = time.monotonic()

    # --- limits --------------------------------------------------------------------------------------------------

    def arm(self, end: Callable[[LimitExceeded], object], idle_s: float | None) -> None:
        """Call ``end`` when the box has lived for its ``wall_s``, or was not called for ``idle_s``."""
        resources = self.request.definition.resources
        self._idle_since = time.monotonic()
        if resources.wall_s is not None:
            self._after("wall_s", resources.wall_s, lambda: self._exceed("wall_s", resources.wall_s or 0, end))
        if self.attempt is None and (idle := resources.idle_s or idle_s) is not None:
            self._after("idle_s", idle, lambda: self._check_idle(idle, end))

    def disarm(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _after(self, limit: Limit, delay_s: float, act: Callable[[], None]) -> None:
        self._timers[limit] = asyncio.get_running_loop().call_later(delay_s, act)

    def _check_idle(self, idle_s: float, end: Callable[[LimitExceeded], object]) -> None:
        left = idle_s - (time.monotonic() - self._idle_since)
        if self.calls:
            left = idle_s
        if left > 0:
            self._after("idle_s", left, lambda: self._check_idle(idle_s, end))
        else:
            self._exceed("idle_s", idle_s, end)

    def _exceed(self, limit: Limit, seconds: float, end: Callable[[LimitExceeded], object]) -> None:
        said = "lived for its" if limit == "wall_s" else "was not called for"
        self.exceeded = LimitExceeded(f"box {self.id!r} {said} {seconds:g} s", limit=limit, box=self.id)
        end(self.exceeded)
