"""A skill as the serving side and the runner see it, wherever its code lives."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from box_agent.box.context import Context
from box_agent.box.skill import options_of, skill

if TYPE_CHECKING:
    from box_agent.box.context import ContextPort
    from box_agent.box.signature import Kind
    from box_agent.box.skill import Bound
    from schemas.box import SkillSpec


class Cancellation:
    """Whether a call shall stop. Read from any thread."""

    __slots__ = ("_requested", "on_request")

    def __init__(self) -> None:
        self._requested = False
        self.on_request: Callable[[], object] | None = None

    @property
    def requested(self) -> bool:
        return self._requested

    def request(self) -> None:
        if not self._requested:
            self._requested = True
            if self.on_request is not None:
                self.on_request()


@dataclass(slots=True)
class CallInfo:
    """What is known of a call besides its arguments. ``emit`` takes its progress and log lines."""

    id: str
    skill: str
    address: str
    caller: str = ""
    branch: str = ""
    conversation: str = ""
    task: str = ""
    deadline_at: float | None = None
    streamed: bool = False
    """The caller reads a stream; otherwise a streaming skill's items are collected into a list."""
    cancellation: Cancellation = field(default_factory=Cancellation)
    emit: Callable[[str, Any], None] | None = None


class Skill(Protocol):
    """``kind`` says what `start` gives: a value (run in a thread), a coroutine, a generator or an async generator."""

    @property
    def spec(self) -> SkillSpec: ...

    @property
    def kind(self) -> Kind: ...

    def prepare(self, args: list[Any], kwargs: Mapping[str, Any], call: CallInfo) -> Callable[[], Any]:
        """Check the arguments (`InvalidArguments`); the callable then starts the run, for ``sync`` it is the run."""
        ...

    def result(self, value: Any) -> Any:
        """A result, or a yielded item, as JSON-able data."""
        ...


class OwnSkill:
    """A function of this process, its arguments checked against its hints."""

    def __init__(self, bound: Bound, port: Callable[[CallInfo], ContextPort]) -> None:
        self._bound = bound
        self._port = port
        self.spec = bound.spec
        self.kind: Kind = bound.kind

    def prepare(self, args: list[Any], kwargs: Mapping[str, Any], call: CallInfo) -> Callable[[], Any]:
        bound = self._bound
        checked = bound.arguments(args, kwargs)
        context = None if bound.context_parameter is None else self._context(call)
        return lambda: bound.start(checked, context=context)

    def result(self, value: Any) -> Any:
        return self._bound.result(value)

    def _context(self, call: CallInfo) -> Context:
        return Context(
            self._port(call),
            call=call.id,
            address=call.address,
            caller=call.caller,
            skill=call.skill,
            deadline_at=call.deadline_at,
            branch=call.branch,
            conversation=call.conversation,
            task=call.task,
        )


class ForwardedSkill:
    """A skill whose code lives elsewhere: ``fn(args, kwargs, call)`` takes the call there, unchecked.

    ``fn`` is a coroutine function, or an async generator function for a streaming skill. It is cancelled when the
    call is, and gives JSON-able data.
    """

    def __init__(self, spec: SkillSpec, fn: Callable[[list[Any], dict[str, Any], CallInfo], Any]) -> None:
        self.spec = spec
        self.kind: Kind = "async_generator" if spec.streaming else "async"
        self._fn = fn

    def prepare(self, args: list[Any], kwargs: Mapping[str, Any], call: CallInfo) -> Callable[[], Any]:
        return lambda: self._fn(args, dict(kwargs), call)

    def result(self, value: Any) -> Any:
        return value


def named(fn: Callable[..., Any], name: str | None, description: str | None, timeout_s: float | None) -> Any:
    """``fn`` as a skill with these options; the function itself stays unmarked."""
    if name is None and description is None and timeout_s is None:
        return fn
    options = options_of(fn)
    if options is not None:
        name, description = name or options.name, description or options.description
        timeout_s = options.timeout_s if timeout_s is None else timeout_s
    name = name or getattr(fn, "__name__", "")
    mark = skill(name=name, description=description or inspect.getdoc(fn), timeout_s=timeout_s)
    return mark(functools.partial(fn))


class AgentPort:
    """`ContextPort` of a skill that runs in the agent's own process."""

    def __init__(
        self,
        call: CallInfo,
        loop: asyncio.AbstractEventLoop,
        verbs: Mapping[str, Callable[..., Any]],
        signal: Callable[[str, Any], None],
    ) -> None:
        self._call = call
        self._loop = loop
        self._verbs = verbs
        self._signal = signal

    def emit(self, kind: str, data: Any) -> None:
        if self._call.emit is not None:
            self._loop.call_soon_threadsafe(self._call.emit, kind, data)
            return
        about = {"call": self._call.id, "skill": self._call.skill, "caller": self._call.caller}
        self._loop.call_soon_threadsafe(self._signal, f"call.{kind}", {**about, "data": data})

    def cancelled(self) -> bool:
        return self._call.cancellation.requested

    def request(self, verb: str, arguments: dict[str, Any]) -> Any:
        if _on_loop(self._loop):
            raise RuntimeError(f"context.bus.{verb} blocks: async skills use context.aio.{verb}")
        return asyncio.run_coroutine_threadsafe(self._verb(verb, arguments), self._loop).result()

    async def request_async(self, verb: str, arguments: dict[str, Any]) -> Any:
        return await self._verb(verb, arguments)

    async def _verb(self, verb: str, arguments: dict[str, Any]) -> Any:
        function = self._verbs[verb]
        if verb == "call":
            given = dict(arguments)
            args, kwargs = given.pop("args", ()), given.pop("kwargs", {})
            box, skill = given.pop("box"), given.pop("skill")
            return await function(box, skill, *args, **given, **kwargs)
        return await function(**arguments)


def _on_loop(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
