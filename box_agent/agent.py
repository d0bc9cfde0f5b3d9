"""`Agent`: a process that joined the bus under an address, with every verb."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from box_agent.address import address_of, checked_id
from box_agent.bus.blobrefs import BlobRefs
from box_agent.bus.calls import Calls
from box_agent.bus.connection import Connection
from box_agent.bus.dead_letters import DeadLetters
from box_agent.bus.events import Events
from box_agent.bus.inbox import InboxReader, open_inbox
from box_agent.bus.invocation import handler_name, runner
from box_agent.bus.presence import Presence
from box_agent.bus.publisher import Publisher
from box_agent.bus.received import Message
from box_agent.bus.scope import Scope
from box_agent.bus.serving import Serving
from box_agent.bus.signals import Signals
from box_agent.bus.streams import Streams
from box_agent.bus.threads import Threads
from box_agent.config import AgentSettings
from box_agent.context.services import HubServices
from box_agent.context.tasks import TaskHandle
from box_agent.offering import Offering
from schemas import envelope as envelopes
from schemas import subjects
from schemas.box import LiveBox
from schemas.deadletter import DeadLetter
from schemas.errors import AlreadyExists
from schemas.ids import check_name, new_id
from schemas.model import timestamp
from schemas.task import TaskSpec

if TYPE_CHECKING:
    from box_agent.bus.delivery import Delivery
    from box_agent.bus.signals import SignalSubscription
    from box_agent.live import LiveBox as LiveHandle
    from box_agent.runner import Runner

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["attached", "system", "live"]
Handler = Callable[[Any], Any]


class Agent(Offering, HubServices):
    """One address on the bus. Made by `connect`; `attach` makes further ones over the same connection.

    Handlers and skills may be coroutine functions, or plain functions, which run in threads of their own.
    """

    def __init__(
        self,
        address: str,
        tenant: str,
        connection: Connection,
        *,
        kind: Kind = "attached",
        description: str = "",
        parent: Agent | None = None,
    ) -> None:
        self.address = address
        self.tenant = tenant
        self.kind: Kind = kind
        self.description = description
        self.instance = new_id("i")
        self.connection = connection
        self.settings: AgentSettings = connection.settings
        super().__init__()
        self._parent = parent
        self._source = subjects.source(tenant, address)
        self._started_at = timestamp()
        self._scope = Scope()
        self._children: list[Agent] = []
        self._subscriptions: list[Delivery | SignalSubscription] = []
        self._inbox_open = False
        self._inbox_read: asyncio.Future[None] | None = None
        self._closed = False
        self.streams: Streams = parent.streams if parent else Streams(connection, tenant)
        self.publisher: Publisher = parent.publisher if parent else Publisher(connection, self.streams)
        self.threads: Threads = parent.threads if parent else Threads(f"agent-{address}")
        self.refs = BlobRefs(lambda: connection.max_payload, lambda: self.blobs)
        self._signals = Signals(connection, tenant, address)
        self._events = Events(connection, self.streams, self.publisher, self.refs, tenant, address)
        self._calls = Calls(connection, self.refs, tenant, address)
        self._letters = DeadLetters(connection, self.streams, self.publisher, tenant)
        self._presence = Presence(connection, self._signals, self.live)
        self._runner: Runner | None = None
        self.serving = Serving(
            connection,
            self.refs,
            self.threads,
            tenant=tenant,
            address=address,
            skills=self.skills,
            concurrency=self.settings.concurrency,
        )

    # --- lifetime ------------------------------------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
        name: str,
        *,
        url: str,
        tenant: str,
        settings: AgentSettings,
        kind: Kind = "attached",
        description: str = "",
        beats: bool = True,
        runs_tasks: bool = True,
    ) -> Self:
        """Join the bus at ``url``. Raises `BusUnavailable`, `Unauthenticated`, `InvalidInput`.

        ``beats`` off leaves presence to the caller; ``runs_tasks`` off refuses delegated tasks.
        """
        subjects.token(name) if kind == "system" else check_name(name, "agent")
        connection = await Connection.open(url, subjects.token(name), settings)
        try:
            self = cls(name, subjects.token(tenant), connection, kind=kind, description=description)
            await self.begin(beats=beats, runs_tasks=runs_tasks)
        except BaseException:
            await connection.aclose()
            raise
        return self

    async def attach(self, address: str, *, kind: Kind = "live", description: str = "", beats: bool = False) -> Agent:
        """Another address over the same connection; closing it leaves the connection open."""
        child = Agent(
            subjects.token(address), self.tenant, self.connection, kind=kind, description=description, parent=self
        )
        try:
            await child.begin(beats=beats, runs_tasks=False)
        except BaseException:
            await child.aclose()  # or it would listen for ever without anybody who knows it
            raise
        self._children.append(child)
        return child

    async def begin(self, *, beats: bool, runs_tasks: bool) -> None:
        """Answer calls from now on; for those who made the agent by hand, once its skills are in place."""
        if runs_tasks:
            from box_agent.runner import Runner, own_skills

            self._runner = Runner(self, own_skills(self), limit=self.settings.attempts)
        await self.serving.start()
        if beats:
            self._scope.spawn(self._presence.run(), f"presence {self.address}")

    async def aclose(self) -> None:
        """Say goodbye, end what runs (within ``close_timeout_s``), give back the rest, hang up. Harmless twice."""
        if self._closed:
            return
        self._closed = True
        for subscription in self._subscriptions:
            subscription.freeze()
        try:
            for child in list(self._children):
                await child.aclose()
            beating = bool(self._scope.tasks)
            await self._scope.aclose()  # a beat after the goodbye would bring us back to life in the registry
            if beating:
                self._presence.goodbye()
            if self._runner is not None:
                await self._runner.aclose()
            await self.serving.aclose()
            for subscription in list(self._subscriptions):
                await subscription.aclose()
        finally:
            await self._scope.aclose()
            if self._parent is None:
                await self.connection.aclose()
                self.threads.close()
            elif self in self._parent._children:
                self._parent._children.remove(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Agent {self.tenant}/{self.address}>"

    def live(self) -> LiveBox:
        """What presence says of this agent."""
        return LiveBox(
            id=self.address,
            kind=self.kind,
            instance=self.instance,
            description=self.description,
            skills=[skill.spec for name, skill in self.skills.items() if not name.startswith("_")],
            calls=self.serving.calls,
            started_at=self._started_at,
            heartbeat_at=timestamp(),
            pid=os.getpid(),
            max_attempts=self.settings.attempts if self._runner is not None else 0,
        )

    # --- messages ------------------------------------------------------------------------------------------------

    async def send_message(
        self,
        to: Any,
        data: Any = None,
        *,
        id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        reply_to: Any = None,
        branch: str | None = None,
    ) -> str:
        """Put a message into the inbox of one box (an address, or anything that has one); the message id.

        Returns when it is stored; a box that is away gets it on return. The same ``id`` to the same box again within
        the duplicate window (5 min) is the same message. Raises `BusUnavailable` when the server does not confirm
        within ``publish_timeout_s``, `Overloaded` when the inboxes are full.
        """
        box = address_of(to)
        envelope = envelopes.make(
            envelopes.MESSAGE,
            self._source,
            data,
            id=checked_id(id),
            correlationid=correlation_id,
            causationid=causation_id,
            replyto=None if reply_to is None else subjects.token(address_of(reply_to)),
            branch=branch,
        )
        subject = subjects.inbox(self.tenant, box, self.address)
        body = await self.refs.encode(envelope)
        await self.publisher.publish("inbox", subject, body, f"{box}/{self.address}/{envelope.id}")
        return envelope.id

    async def on_message(self, handler: Handler, *, max_deliver: int | None = None) -> Delivery:
        """Hand every message for this box to ``handler``; it is acknowledged when the handler has returned.

        Messages of one sender come in order; different senders are handled at once. A handler that raises is called
        again with backoff; after ``max_deliver`` tries (settings: 5) the message becomes a dead letter. Raises
        `AlreadyExists` when the inbox has a handler already.
        """
        return await self._open_inbox(runner(handler, self.threads), handler_name(handler), max_deliver)

    async def inbox(self) -> AsyncIterator[Message]:
        """The messages for this box, one at a time; each is acknowledged when the next one is asked for.

        Leaving the loop gives the current message back.
        """
        reader = InboxReader()
        subscription = await self._open_inbox(reader.handle, "inbox()", None)
        self._inbox_read = asyncio.get_running_loop().create_future()
        try:
            async for message in reader.messages():
                yield message
        finally:
            reader.abandon()
            await subscription.aclose()
            self._inbox_read.set_result(None)

    async def _open_inbox(
        self, handler: Callable[[Any], Awaitable[Any]], name: str, max_deliver: int | None
    ) -> Delivery:
        if self._inbox_read and self._inbox_open:  # a loop that was left closes a moment later
            await asyncio.wait({self._inbox_read}, timeout=self.settings.close_timeout_s)
        if self._inbox_open:
            raise AlreadyExists(f"the inbox of {self.address!r} has a handler; close that subscription first")
        self._inbox_open = True
        try:
            delivery = await open_inbox(
                self.connection,
                self.streams,
                self.publisher,
                self.refs,
                tenant=self.tenant,
                box=self.address,
                handler=handler,
                name=name,
                max_deliver=max_deliver or self.settings.max_deliver,
                on_closed=self._inbox_closed,
            )
        except BaseException:
            self._inbox_open = False
            raise
        self._subscriptions.append(delivery)
        return delivery

    def _inbox_closed(self, delivery: Delivery) -> None:
        self._inbox_open = False
        self._subscriptions.remove(delivery)

    # --- events --------------------------------------------------------------------------------------------------

    async def publish_event(
        self,
        name: str,
        data: Any = None,
        *,
        id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        branch: str | None = None,
    ) -> int:
        """Publish to whoever subscribes, now or later; the sequence in the stream of events.

        Returns when it is stored. Raises as `send_message` does.
        """
        envelope = envelopes.make(
            envelopes.EVENT,
            self._source,
            data,
            id=checked_id(id),
            correlationid=correlation_id,
            causationid=causation_id,
            branch=branch,
        )
        subject = subjects.event(self.tenant, self.address, name)
        body = await self.refs.encode(envelope)
        ack = await self.publisher.publish("event", subject, body, f"{self.address}/{name}/{envelope.id}")
        return ack.seq

    async def on_event(
        self,
        pattern: str,
        handler: Handler,
        *,
        group: str | None = None,
        since: datetime | float | None = None,
        from_sequence: int | None = None,
        durable: bool = True,
        max_deliver: int | None = None,
    ) -> Delivery:
        """Hand events whose name matches (``*`` one token, a final ``>`` the rest) to ``handler``.

        Durable: acknowledged after the handler returned, retried, dead-lettered like messages, in order per sender;
        the next process that subscribes the same way goes on where this one stopped. Members of a ``group``, in
        whatever agents, share the events, without an order between them. ``since`` or ``from_sequence`` say where a
        *new* durable begins (default: now); one that exists goes on where it was. ``durable=False`` keeps nothing:
        events from ``since``, ``from_sequence`` or now on, strictly in order, gone with this subscription.
        """
        delivery = await self._events.subscribe(
            pattern,
            runner(handler, self.threads),
            handler_name(handler),
            group=group,
            since=since,
            from_sequence=from_sequence,
            durable=durable,
            max_deliver=max_deliver or self.settings.max_deliver,
            on_closed=self._subscriptions.remove,
        )
        self._subscriptions.append(delivery)
        return delivery

    # --- signals -------------------------------------------------------------------------------------------------

    def publish_signal(self, name: str, data: Any = None) -> None:
        """Tell whoever listens right now; at most once, never waits. For progress, logs, presence.

        Raises `Overloaded` when more waits for the socket than ``max_pending_bytes``, `PayloadTooLarge`.
        """
        self._signals.publish(name, data)

    async def on_signal(self, pattern: str, handler: Handler, *, sender: str = "*") -> SignalSubscription:
        """Hand signals that match to ``handler``, one at a time. A handler that falls behind loses the newest."""
        subscription = await self._signals.subscribe(
            pattern, runner(handler, self.threads), handler_name(handler), sender
        )
        self._subscriptions.append(subscription)
        return subscription

    # --- calls ---------------------------------------------------------------------------------------------------

    async def call(self, box: Any, skill: str, /, *args: Any, timeout_s: float = 30.0, **kwargs: Any) -> Any:
        """Run a skill of another box now and return its result; of a streaming skill the list of its items.

        Raises `BoxNotFound` at once when nobody listens there, `SkillNotFound`, `InvalidArguments`, `SkillFailed`
        with the skill's own exception, `DeadlineExceeded` after ``timeout_s`` (the skill is cancelled there, too),
        `Overloaded`. Cancelling this cancels the call.
        """
        return await self._calls.call(address_of(box), skill, args, kwargs, timeout_s)

    def stream(
        self, box: Any, skill: str, /, *args: Any, timeout_s: float = 300.0, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """The items a streaming skill yields, as they come; raises what `call` raises.

        The skill runs at most ``stream_credit`` items ahead of the reader. Leaving the loop cancels it.
        """
        return self._calls.stream(address_of(box), skill, args, kwargs, timeout_s)

    def _skills_changed(self) -> None:
        self._presence.changed()

    def _verbs(self) -> dict[str, Callable[..., Any]]:
        return {"send_message": self.send_message, "publish_event": self.publish_event, "call": self.call}

    # --- tasks ---------------------------------------------------------------------------------------------------

    async def delegate(
        self,
        box: Any,
        skill: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        **fields: Any,
    ) -> TaskHandle:
        """Submit a durable task; returns when it is accepted, and from then on it is never lost.

        ``box`` is an address or the name of a registered Box; ``fields`` are those of `TaskSpec`. The same ``id``
        again is the same task (`IdempotencyConflict` with another content).
        """
        spec = TaskSpec(
            id=id or new_id("task"),
            box=address_of(box),
            skill=skill,
            arguments=dict(arguments or {}),
            **fields,
        )
        record = await self.tasks.submit(spec)
        return TaskHandle(self.tasks, record.id)

    async def spawn(self, box: Any, **options: Any) -> LiveHandle:
        """A live box of a Box or a definition, ready, and owned by this agent: it ends when the agent does.

        ``options``: ``id`` (its address), ``branch`` (mount its files), ``isolation`` (at least), ``driver``, ``node``,
        ``timeout_s``. Raises `NoCapacity`, `DriverUnavailable`, `DeadlineExceeded`, and what ``setup()`` raised.
        """
        from box_agent.live import spawn

        return await spawn(self, box, **options)

    # --- dead letters --------------------------------------------------------------------------------------------

    async def dead_letters(self, box: Any = None, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of one box, or of all."""
        return await self._letters.list(None if box is None else address_of(box), limit)

    async def redrive(self, sequence: int) -> int:
        """Give a dead letter to the handler that gave up on it again; its new sequence. Raises `NotFound`."""
        return await self._letters.redrive(sequence)
