"""The sync API: `connect`, and every verb of `box_agent.aio` under the same name, blocking.

Everything runs on one event loop in a background thread, so it works in scripts, threads and notebooks alike. Handlers
given as plain functions run in threads of their own and may call these verbs themselves.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from box_agent import aio
from box_agent.background import Background, PerProcess
from box_agent.context.open_branch import Fork, OpenBranch, Race

if TYPE_CHECKING:
    from box_agent.bus.received import Message
    from box_agent.config import AgentSettings
    from box_agent.live import SyncLiveBox
    from schemas.box import SkillSpec
    from schemas.deadletter import DeadLetter
    from schemas.task import TaskRecord, TaskUpdate

F = TypeVar("F", bound=Callable[..., Any])
Handler = Callable[[Any], Any]

_process = PerProcess()
_named: dict[tuple[Background, str], Agent] = {}
_named_lock = threading.Lock()


def connect(
    name: str, *, url: str | None = None, tenant: str | None = None, settings: AgentSettings | None = None
) -> Agent:
    """Join the bus as ``name``. See `box_agent.aio.connect`; closed at the end of the process at the latest."""
    background = _process.get()

    async def opening() -> aio.Agent:
        return await aio.connect(name, url=url, tenant=tenant, settings=settings)

    return Agent(background.run(opening()), background)


def agent_for(name: str) -> Agent:
    """This process's agent at address ``name``, connected by the environment's settings when first asked for."""
    background = _process.get()
    with _named_lock:
        agent = _named.get((background, name))
        if agent is None or agent.closed:
            agent = _named[background, name] = connect(name)
        return agent


def running_agent_for(name: str) -> Agent | None:
    """`agent_for`, where a bus is known already; ``None`` where one would have to be started first."""
    from box_agent.config import AgentSettings
    from box_agent.discovery import known

    return agent_for(name) if known(AgentSettings()) else None


class Subscription:
    """What a handler was given to; `close` ends it."""

    def __init__(self, subscription: Any, background: Background) -> None:
        self._subscription = subscription
        self._background = background

    def close(self) -> None:
        """Running handlers may end; unhandled messages are given back. Harmless twice."""
        self._background.run(self._subscription.aclose())


class Blocking:
    """Any async object with its coroutine methods blocking, its async iterators and context managers plain ones.

    What its methods give is blocking too where it is such an object itself: a workspace, a branch.
    """

    def __init__(self, target: Any, background: Background) -> None:
        self._target = target
        self._background = background

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return value

        def method(*args: Any, **kwargs: Any) -> Any:
            result = value(*map(_given, args), **{key: _given(each) for key, each in kwargs.items()})
            if inspect.iscoroutine(result):
                result = self._background.run(result)
            elif hasattr(result, "__anext__"):
                return self._background.iterate(result)
            return self._shown(result)

        return method

    def _shown(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self._shown(each) for each in result]
        if isinstance(result, (OpenBranch, Fork, Race)):
            return Blocking(result, self._background)
        return result

    def __enter__(self) -> Any:
        return self._shown(self._background.run(self._target.__aenter__()))

    def __exit__(self, *exc_info: Any) -> None:
        self._background.run(self._target.__aexit__(*exc_info))

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"


def _given(value: Any) -> Any:
    """What the async object expects where a blocking one is given."""
    if isinstance(value, (list, tuple)):
        return [_given(each) for each in value]
    return value._target if isinstance(value, Blocking) else value


class TaskHandle:
    """One delegated task."""

    def __init__(self, handle: Any, background: Background) -> None:
        self._handle = handle
        self._background = background
        self.id: str = handle.id

    def __repr__(self) -> str:
        return repr(self._handle)

    def get(self) -> TaskRecord:
        record: TaskRecord = self._background.run(self._handle.get())
        return record

    def result(self, timeout_s: float | None = None) -> Any:
        """What the skill returned. Raises what failed it, `Cancelled`, or `DeadlineExceeded` (it runs on then)."""
        return self._background.run(self._handle.result(timeout_s))

    def updates(self, after: int = 0) -> Iterator[TaskUpdate]:
        return self._background.iterate(self._handle.updates(after))

    def cancel(self, reason: str = "") -> TaskRecord:
        record: TaskRecord = self._background.run(self._handle.cancel(reason))
        return record


class Agent:
    """`box_agent.aio.Agent`, blocking; the promises of each verb are documented there. ``aio`` is the async one."""

    def __init__(self, agent: aio.Agent, background: Background) -> None:
        self.aio = agent
        self.background = background
        self.closed = False
        background.close_at_exit(self, agent.aclose)

    @property
    def address(self) -> str:
        return self.aio.address

    @property
    def tenant(self) -> str:
        return self.aio.tenant

    def close(self) -> None:
        """Say goodbye, end what runs, give back the rest, hang up. Harmless twice."""
        if not self.closed:
            self.closed = True
            self.background.forget(self)
            self.background.run(self.aio.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self.aio)

    # --- messages, events, signals -------------------------------------------------------------------------------

    def send_message(self, to: Any, data: Any = None, **attributes: Any) -> str:
        """Put a message into the inbox of one box; the message id, once it is stored."""
        return self.background.run(self.aio.send_message(to, data, **attributes))

    def on_message(self, handler: Handler, *, max_deliver: int | None = None) -> Subscription:
        """Hand every message for this box to ``handler``, in a thread if it is a plain function."""
        opened = self.background.run(self.aio.on_message(handler, max_deliver=max_deliver))
        return Subscription(opened, self.background)

    def inbox(self) -> Iterator[Message]:
        """The messages for this box, one at a time; each is acknowledged when the next one is asked for."""
        return self.background.iterate(self.aio.inbox())

    def publish_event(self, name: str, data: Any = None, **attributes: Any) -> int:
        """Publish to whoever subscribes, now or later; the sequence, once it is stored."""
        return self.background.run(self.aio.publish_event(name, data, **attributes))

    def on_event(
        self,
        pattern: str,
        handler: Handler,
        *,
        group: str | None = None,
        since: datetime | float | None = None,
        from_sequence: int | None = None,
        durable: bool = True,
        max_deliver: int | None = None,
    ) -> Subscription:
        """Hand events whose name matches to ``handler``, in a thread if it is a plain function."""
        opened = self.background.run(
            self.aio.on_event(
                pattern,
                handler,
                group=group,
                since=since,
                from_sequence=from_sequence,
                durable=durable,
                max_deliver=max_deliver,
            )
        )
        return Subscription(opened, self.background)

    def publish_signal(self, name: str, data: Any = None) -> None:
        """Tell whoever listens right now; at most once."""
        self.background.do(self.aio.publish_signal, name, data)

    def on_signal(self, pattern: str, handler: Handler, *, sender: str = "*") -> Subscription:
        """Hand signals that match to ``handler``, in a thread if it is a plain function."""
        return Subscription(self.background.run(self.aio.on_signal(pattern, handler, sender=sender)), self.background)

    # --- skills and tasks ----------------------------------------------------------------------------------------

    def call(self, box: Any, skill: str, /, *args: Any, timeout_s: float = 30.0, **kwargs: Any) -> Any:
        """Run a skill of another box now and return its result."""
        return self.background.run(self.aio.call(box, skill, *args, timeout_s=timeout_s, **kwargs))

    def stream(self, box: Any, skill: str, /, *args: Any, timeout_s: float = 300.0, **kwargs: Any) -> Iterator[Any]:
        """The items a streaming skill yields, as they come."""
        return self.background.iterate(self.aio.stream(box, skill, *args, timeout_s=timeout_s, **kwargs))

    @overload
    def skill(self, fn: F, /) -> F: ...
    @overload
    def skill(
        self, /, *, name: str | None = None, description: str | None = None, timeout_s: float | None = None
    ) -> Callable[[F], F]: ...
    def skill(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a function as a skill at this address; usable as a decorator, with or without arguments."""

        def offer(target: F) -> F:
            self.background.do(lambda: self.aio.skill(**options)(target))
            return target

        return offer if fn is None else offer(fn)

    def serve(self, spec: SkillSpec, fn: Callable[..., Any]) -> None:
        """Offer ``fn`` under the name and description of ``spec``."""
        self.background.do(self.aio.serve, spec, fn)

    def delegate(
        self, box: Any, skill: str, arguments: Mapping[str, Any] | None = None, *, id: str | None = None, **fields: Any
    ) -> TaskHandle:
        """Submit a durable task; returns when it is accepted."""
        handle = self.background.run(self.aio.delegate(box, skill, arguments, id=id, **fields))
        return TaskHandle(handle, self.background)

    def spawn(self, box: Any, **options: Any) -> SyncLiveBox:
        """A live box of a Box or a definition, ready, and owned by this agent."""
        from box_agent.live import SyncLiveBox

        return SyncLiveBox(self.background.run(self.aio.spawn(box, **options)), self.background)

    def explore(self, start: Any, attempt: Callable[..., Any], **options: Any) -> Any:
        """`box_agent.explore.explore`; an ``attempt`` may be a plain function of a blocking branch, run in a thread.

        Such a function is not ended when another try was better; what it then does to its branch is refused.
        """
        from box_agent.explore import explore

        async def in_thread(branch: OpenBranch, trial: Any) -> Any:
            return await asyncio.to_thread(attempt, Blocking(branch, self.background), trial)

        chosen = attempt if inspect.iscoroutinefunction(attempt) else in_thread
        return Blocking(self.background.run(explore(_given(start), chosen, **options)), self.background)

    # --- dead letters and the hub's services ---------------------------------------------------------------------

    def dead_letters(self, box: Any = None, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of one box, or of all."""
        return self.background.run(self.aio.dead_letters(box, limit))

    def redrive(self, sequence: int) -> int:
        """Give a dead letter to the handler that gave up on it again; its new sequence."""
        return self.background.run(self.aio.redrive(sequence))

    @property
    def blobs(self) -> Any:
        return Blocking(self.aio.blobs, self.background)

    @property
    def boxes(self) -> Any:
        return Blocking(self.aio.boxes, self.background)

    @property
    def conversations(self) -> Any:
        return Blocking(self.aio.conversations, self.background)

    @property
    def keyvalues(self) -> Any:
        return Blocking(self.aio.keyvalues, self.background)

    @property
    def tasks(self) -> Any:
        return Blocking(self.aio.tasks, self.background)

    @property
    def workspaces(self) -> Any:
        return Blocking(self.aio.workspaces, self.background)
