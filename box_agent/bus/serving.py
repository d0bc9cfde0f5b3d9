"""Serving skills at an address: bounded, with the caller's deadline, cancellable, streaming with credit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from box_agent.bus import trace
from box_agent.bus.deadlines import MISSED_KEEPALIVES
from box_agent.bus.execution import complete, items, skill_error
from box_agent.bus.received import origin
from box_agent.bus.scope import Scope
from box_agent.bus.skills import CallInfo
from box_agent.bus.slots import Slots
from schemas import envelope as envelopes
from schemas import subjects
from schemas.envelope import Envelope
from schemas.errors import (
    BoxhubError,
    Cancelled,
    DeadlineExceeded,
    InvalidArguments,
    InvalidInput,
    Overloaded,
    SkillNotFound,
    Unavailable,
)

if TYPE_CHECKING:
    from box_agent.bus.blobrefs import BlobRefs
    from box_agent.bus.connection import Connection, DirectSubscription
    from box_agent.bus.skills import Skill
    from box_agent.bus.threads import Threads

_CLOSING_S = 1.0


class RunningCall:
    """One call on its way: its task, its answer (once), and for a stream the credit its reader gave."""

    __slots__ = (
        "answered",
        "credit",
        "info",
        "missed",
        "refilled",
        "reply",
        "sequence",
        "serving",
        "task",
        "timeout_s",
    )

    def __init__(self, serving: Serving, info: CallInfo, reply: str, credit: int, timeout_s: float) -> None:
        self.serving = serving
        self.info = info
        self.timeout_s = timeout_s
        self.reply = reply
        self.credit = credit
        self.sequence = 0
        self.missed = 0
        self.answered = False
        self.refilled: asyncio.Event | None = asyncio.Event() if credit else None
        self.task: asyncio.Task[None] | None = None

    def expire(self) -> None:
        self.serving.expire(self)


class Serving:
    """The skills of one address. Instances at the same address share its calls, as a queue group.

    At most ``concurrency`` calls run at once and as many again wait; the next is refused with `Overloaded`. A sync
    skill that runs on after its deadline keeps its place until it returns.
    """

    def __init__(
        self,
        connection: Connection,
        refs: BlobRefs,
        threads: Threads,
        *,
        tenant: str,
        address: str,
        skills: Mapping[str, Skill],
        concurrency: int,
    ) -> None:
        self._connection = connection
        self._refs = refs
        self._threads = threads
        self._tenant = tenant
        self._address = address
        self._source = subjects.source(tenant, address)
        self._skills = skills
        self._concurrency = concurrency
        self._slots = Slots(concurrency)
        self._running: dict[str, RunningCall] = {}
        self._subscriptions: list[DirectSubscription] = []
        self._scope = Scope()

    @property
    def calls(self) -> int:
        """Running or waiting now."""
        return len(self._running)

    async def start(self) -> None:
        """Returns when the server knows that somebody listens here."""
        connection, group = self._connection, subjects.call_group(self._address)
        self._subscriptions = [
            await connection.subscribe(subjects.control_filter(self._tenant, self._address), self._on_control),
            await connection.subscribe(subjects.call_filter(self._tenant, self._address), self._on_call, queue=group),
        ]
        await connection.flush(connection.settings.connect_timeout_s)

    async def aclose(self) -> None:
        """Take no new calls, let running ones end within ``close_timeout_s``, cancel the others. Harmless twice."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in reversed(subscriptions):
            await subscription.aclose()
        tasks = {call.task for call in self._running.values() if call.task is not None} - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=self._connection.settings.close_timeout_s)
        for call in list(self._running.values()):
            self._stop(call, Unavailable(f"{self._address} is closing", box=self._address))
            if call.task is not None and call.task is not asyncio.current_task():
                call.task.cancel()  # once more, to give up on a function that does not return
        if left := tasks & {call.task for call in self._running.values()}:
            await asyncio.wait(left, timeout=_CLOSING_S)
        await self._scope.aclose()

    # --- arrival -------------------------------------------------------------------------------------------------

    def _on_call(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        if not reply:
            self._connection.faults.report("call_without_reply", subject=subject.decode("utf-8", "replace"))
            return
        answer_to = reply.decode()
        try:
            parsed, _ = origin(subject)
            envelope = envelopes.decode(data)
        except InvalidInput as error:
            self._refuse(answer_to, error)
            return
        skill = self._skills.get(parsed.name)
        if skill is None:
            self._refuse(answer_to, self._no_such_skill(parsed.name))
            return
        if len(self._running) >= 2 * self._concurrency:
            waiting = f"{len(self._running)} calls run or wait at {self._address}"
            self._refuse(answer_to, Overloaded(f"{waiting}; try again later", box=self._address))
            return
        if envelope.id in self._running:
            return  # the same call twice: the first one answers
        self._begin(skill, parsed.sender, parsed.name, envelope, answer_to, trace.from_headers(headers))

    def _begin(
        self,
        skill: Skill,
        caller: str,
        name: str,
        envelope: Envelope,
        reply: str,
        traceparent: str | None,
    ) -> None:
        data = envelope.data if isinstance(envelope.data, dict) else {}
        credit = data.get("credit")
        credit = credit if isinstance(credit, int) and credit > 0 else 0
        timeout_s = (envelope.timeoutms or self._connection.settings.call_timeout_s * 1000) / 1000
        if skill.spec.timeout_s is not None:
            timeout_s = min(timeout_s, skill.spec.timeout_s)
        info = CallInfo(
            id=envelope.id,
            skill=name,
            address=self._address,
            caller=caller,
            branch=envelope.branch or "",
            deadline_at=time.time() + timeout_s,
            streamed=credit > 0,
        )
        call = RunningCall(self, info, reply, credit, timeout_s)
        self._running[info.id] = call
        token = trace.use(traceparent) if traceparent is not None else None
        try:
            # not in the scope: `_running` owns it, and it leaves there by itself
            call.task = asyncio.get_running_loop().create_task(self._serve(skill, call, envelope))
        finally:
            if token is not None:
                trace.reset(token)

    def _on_control(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        try:
            parsed, _ = origin(subject)
            wish = envelopes.decode(data).data
        except InvalidInput as error:
            self._connection.faults.report("malformed_control", error=str(error))
            return
        call = self._running.get(parsed.name)
        if reply and isinstance(wish, dict) and wish.get("ask"):
            known = call is not None and call.info.caller == parsed.sender
            body = envelopes.encode(envelopes.make(envelopes.CONTROL, self._source, {"known": known}))
            self._send(reply.decode(), body)
            return
        if call is None or call.info.caller != parsed.sender or not isinstance(wish, dict):
            return  # of another instance, over already, or not the caller's to control
        call.missed = 0
        if wish.get("cancel"):
            self._stop(call, Cancelled(f"{self._address}.{call.info.skill} was cancelled by its caller"))
        credit = wish.get("credit")
        if isinstance(credit, int) and credit > 0 and call.refilled is not None:
            call.credit += credit
            call.refilled.set()

    # --- one call ------------------------------------------------------------------------------------------------

    async def _serve(self, skill: Skill, call: RunningCall, envelope: Envelope) -> None:
        deadlines = self._connection.deadlines
        ticket = deadlines.add(call, call.timeout_s)
        try:
            if not self._slots.take_now():
                await self._slots.take()
            try:
                await self._run(skill, call, envelope)
            finally:
                self._slots.give()
        except asyncio.CancelledError:
            if not call.answered:
                raise
        except Exception as error:  # noqa: BLE001 - whatever a skill raises goes to its caller
            await self._answer(call, envelopes.ERROR, skill_error(error, call.info).to_info().model_dump())
        finally:
            deadlines.remove(call, ticket)
            self._running.pop(call.info.id, None)

    async def _run(self, skill: Skill, call: RunningCall, envelope: Envelope) -> None:
        fetching = self._refs.resolve(envelope)
        if fetching is not None:
            envelope = await fetching
        args, kwargs = _arguments(envelope.data)
        run = skill.prepare(args, kwargs, call.info)
        if call.info.streamed:
            await self._stream(skill, run, call)
        else:
            value = await complete(skill, run, call.info, self._threads)
            await self._answer(call, envelopes.RESULT, value)

    async def _answer(self, call: RunningCall, type: str, data: Any, sequence: int | None = None) -> None:
        """The final answer, unless there was one."""
        if call.answered:
            return
        call.answered = True
        envelope = envelopes.make(type, self._source, data, subject=call.info.skill, sequence=sequence)
        try:
            body = self._refs.encode_now(envelope) or await self._refs.encode(envelope)
        except BoxhubError as error:
            self._refuse(call.reply, error)
            return
        self._send(call.reply, body, alone=len(self._running) == 1)

    def _refuse(self, reply: str, error: BoxhubError) -> None:
        body = envelopes.encode(envelopes.make(envelopes.ERROR, self._source, _printable(error)))
        self._send(reply, body)

    def _send(self, reply: str, body: bytes, *, alone: bool = False) -> None:
        try:
            self._connection.send(reply, body, alone=alone)
        except BoxhubError as error:  # the caller's deadline tells it
            self._connection.faults.report("answer_not_sent", address=self._address, error=str(error))

    def expire(self, call: RunningCall) -> None:
        """Its caller's time is up."""
        timeout_s = call.timeout_s
        self._stop(
            call,
            DeadlineExceeded(
                f"{self._address}.{call.info.skill} did not end within {timeout_s:.3g} s",
                timeout="call",
                seconds=timeout_s,
            ),
        )

    def _stop(self, call: RunningCall, reason: BoxhubError) -> None:
        """Tell the caller at once; the place is free when the skill has ended."""
        if call.answered:
            return
        call.answered = True
        self._refuse(call.reply, reason)
        call.info.cancellation.request()
        if call.task is not None:
            call.task.cancel()
            # one that is cancelled before its first step never gets to take itself out
            call.task.add_done_callback(lambda _: self._running.pop(call.info.id, None))

    def _no_such_skill(self, name: str) -> SkillNotFound:
        names = sorted(skill for skill in self._skills if not skill.startswith("_"))
        return SkillNotFound(
            f"{self._address} has no skill {name!r}; it has {', '.join(names) or 'none'}", skills=names
        )

    # --- streaming -----------------------------------------------------------------------------------------------

    async def _stream(self, skill: Skill, run: Callable[[], Any], call: RunningCall) -> None:
        alive = self._scope.spawn(self._keep_alive(call), f"keepalive {call.info.id}")
        source = items(skill, run, call.info, self._threads)
        try:
            async for item in source:
                while call.credit <= 0:
                    assert call.refilled is not None
                    call.refilled.clear()
                    await call.refilled.wait()
                call.credit -= 1
                call.sequence += 1
                chunk = envelopes.make(envelopes.CHUNK, self._source, item, sequence=call.sequence)
                self._send(call.reply, await self._refs.encode(chunk))
            await self._answer(call, envelopes.END, None, sequence=call.sequence)
        finally:
            alive.cancel()
            await source.aclose()  # type: ignore[attr-defined]

    async def _keep_alive(self, call: RunningCall) -> None:
        """Say that the stream lives; a reader that does not say so in turn has died and gets no more."""
        every = self._connection.settings.keepalive_s
        body = envelopes.encode(envelopes.make(envelopes.CONTROL, self._source, {"alive": True}))
        while True:
            await asyncio.sleep(every)
            if call.missed == MISSED_KEEPALIVES:  # counted, not timed: it may be this process that stood still
                silent = f"the reader of {self._address}.{call.info.skill} missed {call.missed} signs of life"
                self._stop(call, Cancelled(silent))
                return
            call.missed += 1
            self._send(call.reply, body)


def _arguments(data: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(data, dict):
        args, kwargs = data.get("args", []), data.get("kwargs", {})
        if isinstance(args, list) and isinstance(kwargs, dict):
            return args, kwargs
    raise InvalidArguments('a call carries {"args": [...], "kwargs": {...}}', errors=[])


def _printable(error: BoxhubError) -> dict[str, Any]:
    info = error.to_info().model_dump()
    try:
        envelopes.encode(envelopes.make(envelopes.ERROR, "/", info))
    except InvalidInput:  # details that JSON cannot say
        info["details"] = {key: repr(value)[:500] for key, value in info["details"].items()}
    return info
