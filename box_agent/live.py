"""The handle of a live box: its skills are methods.

`spawn` makes one through the hub: the Box's code and files travel as blobs (only what the hub does not have), its
definition is registered under its name, and the hub's scheduler finds the node.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from box_agent.box.box import Box
from box_agent.box.composition import QUALIFIER
from schemas.box import BoxDefinition, SpawnRequest
from schemas.box import LiveBox as Record
from schemas.errors import InvalidInput
from schemas.ids import new_id

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from box_agent.background import Background

_NAME_KEPT = 40


async def register(agent: Agent, box: Box | type[Box] | BoxDefinition) -> BoxDefinition:
    """Makes a Box known to the hub by its name, for tasks that run in fresh live boxes; returns its definition."""
    if isinstance(box, BoxDefinition):
        return await agent.boxes.register(box)
    value = box() if isinstance(box, type) else box
    if not isinstance(value, Box):
        raise InvalidInput(f"{box!r} is no Box; give a Box, a subclass of Box or a BoxDefinition")
    definition, blobs = value.pack()
    await agent.blobs.put_many(blobs)
    return await agent.boxes.register(definition)


async def spawn(
    agent: Agent,
    box: Box | type[Box] | BoxDefinition,
    *,
    id: str | None = None,
    timeout_s: float = 60.0,
    **options: Any,
) -> LiveBox:
    """A live box that is ready, owned by ``agent``: it ends when its owner does.

    ``options``: ``branch`` (mount its files), ``isolation`` (at least), ``driver``, ``node``. The same ``id`` twice is
    the same box. Raises `NoCapacity`, `DriverUnavailable`, `DeadlineExceeded`, and what ``setup()`` raised.
    """
    definition = await register(agent, box)
    request = SpawnRequest(
        id=id or new_id(definition.name[:_NAME_KEPT]),
        definition=definition,
        owner=agent.address,
        timeout_s=timeout_s,
        **options,
    )
    return LiveBox(agent, await agent.boxes.spawn(request))


class LiveBox:
    """A running box. ``await live.buy_coffee("latte")``; a streaming skill gives an async iterator."""

    def __init__(self, agent: Agent, record: Record) -> None:
        self._agent = agent
        self.record = record
        self._skills = {s.name: s for s in record.skills}

    @property
    def address(self) -> str:
        return self.record.id

    async def call(self, skill: str, /, *args: Any, timeout_s: float = 30.0, **kwargs: Any) -> Any:
        """Run one skill. Raises what it raised, `DeadlineExceeded`, `BoxNotFound` once the box has ended."""
        return await self._agent.call(self.address, skill, *args, timeout_s=timeout_s, **kwargs)

    def stream(self, skill: str, /, *args: Any, timeout_s: float = 300.0, **kwargs: Any) -> AsyncIterator[Any]:
        return self._agent.stream(self.address, skill, *args, timeout_s=timeout_s, **kwargs)

    async def stop(self, reason: str = "") -> None:
        """End it; every process of the box has ended when this returns. Harmless twice."""
        self.record = await self._agent.boxes.stop(self.address, reason)

    async def info(self) -> Record:
        """What the registry says of it now."""
        return await self._agent.boxes.get(self.address)

    def part(self, name: str) -> PartOf:
        """The skills of one part, also those another part's skill of the same name was preferred to."""
        return PartOf(self, name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        spec = self.__dict__["_skills"].get(name) if "_skills" in self.__dict__ else None
        if spec is None:
            known = ", ".join(sorted(self.__dict__.get("_skills", ()))) or "none"
            raise AttributeError(f"live box has no skill {name!r}; it has: {known}", name=name, obj=self)

        def method(*args: Any, **kwargs: Any) -> Any:
            return (self.stream if spec.streaming else self.call)(name, *args, **kwargs)

        return method

    def __repr__(self) -> str:
        return f"<LiveBox {self.address} on {self.record.node} skills: {', '.join(sorted(self._skills))}>"


class PartOf:
    """``live.part("shop").buy()``"""

    def __init__(self, live: LiveBox | SyncLiveBox, part: str) -> None:
        self._live = live
        self._part = part

    def __getattr__(self, name: str) -> Callable[..., Any]:
        qualified = f"{self._part}{QUALIFIER}{name}"
        own = {spec.name for spec in self._live.record.skills if spec.part == self._part}
        if not own & {name, qualified}:
            raise AttributeError(
                f"part {self._part!r} has no skill {name!r}; it has: {', '.join(sorted(own)) or 'none'}",
                name=name,
                obj=self,
            )
        method: Callable[..., Any] = getattr(self._live, qualified if qualified in own else name)
        return method


class SyncLiveBox:
    """`LiveBox`, blocking: ``live.buy_coffee("latte")`` gives the result, a streaming skill a plain iterator."""

    def __init__(self, live: LiveBox, background: Background) -> None:
        self.aio = live
        self._background = background

    @property
    def address(self) -> str:
        return self.aio.address

    @property
    def record(self) -> Record:
        return self.aio.record

    def call(self, skill: str, /, *args: Any, timeout_s: float = 30.0, **kwargs: Any) -> Any:
        return self._background.run(self.aio.call(skill, *args, timeout_s=timeout_s, **kwargs))

    def stream(self, skill: str, /, *args: Any, timeout_s: float = 300.0, **kwargs: Any) -> Iterator[Any]:
        return self._background.iterate(self.aio.stream(skill, *args, timeout_s=timeout_s, **kwargs))

    def stop(self, reason: str = "") -> None:
        """End it; every process of the box has ended when this returns. Harmless twice."""
        self._background.run(self.aio.stop(reason))

    def info(self) -> Record:
        return self._background.run(self.aio.info())

    def part(self, name: str) -> PartOf:
        return PartOf(self, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.aio, name)

        def blocking(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._background.run(result) if inspect.iscoroutine(result) else self._background.iterate(result)

        return blocking

    def __repr__(self) -> str:
        return repr(self.aio)
