"""What runners report, from the durable stream into the records: apply by compare-and-set, then acknowledge.

One worker per task that has something waiting, so the reports of a task that arrive while a write is under way
share the next write. The stream outlives every hub: reports sent while none was there are applied by the next.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import random
from time import time
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import ValidationError

from box_agent.bus.consumers import ConsumerSpec, Start, ensure
from box_agent.bus.pull import Delivered, Pull
from hub.tasks import state
from hub.tasks.record import StoredTask
from schemas import envelope as envelopes
from schemas import subjects
from schemas.errors import (
    BlobNotFound,
    BoxhubError,
    BusUnavailable,
    IntegrityError,
    InvalidInput,
    PayloadTooLarge,
    StaleAttempt,
    StoreUnavailable,
    TaskNotFound,
    TerminalState,
)
from schemas.task import Report

if TYPE_CHECKING:
    from box_agent.bus.blobrefs import BlobRefs
    from box_agent.bus.connection import Connection
    from box_agent.bus.scope import Scope
    from box_agent.bus.streams import Streams
    from hub.tasks.settings import TaskSettings
    from hub.tasks.store import TaskStore

_log = structlog.get_logger("boxhub.tasks")

CONSUMER: Final = "hub-tasks"
"""One durable consumer per tenant, shared by all replicas of the hub."""
_DROPPED: Final = {"dropped": "it was too large for the task's record"}
_FINAL: Final = frozenset({"completed", "failed", "stopped"})
_HOLES_WAIT_DELIVERIES: Final = 6
_AGAIN_S: Final = 0.05
"""A report that must wait comes again after this time, and later with every turn."""


class Letter:
    """One delivered report and who is proved to have sent it."""

    __slots__ = ("delivered", "report", "sender")

    def __init__(self, delivered: Delivered, report: Report, sender: str) -> None:
        self.delivered = delivered
        self.report = report
        self.sender = sender


class ReportConsumer:
    """``counts`` tells how many reports were applied, duplicate, fenced (stale), held back, malformed."""

    def __init__(
        self,
        store: TaskStore,
        connection: Connection,
        streams: Streams,
        refs: BlobRefs,
        tenant: str,
        scope: Scope,
        settings: TaskSettings,
        clock: Callable[[], float] = time,
        random: state.Random = random,
    ) -> None:
        self._store = store
        self._connection = connection
        self._streams = streams
        self._refs = refs
        self._tenant = tenant
        self._scope = scope
        self._settings = settings
        self._clock = clock
        self._random = random
        self._waiting: dict[str, list[Delivered]] = {}
        self._arrived: dict[str, asyncio.Event] = {}
        self._unfinished: Counter[str] = Counter()
        self._in_hand = 0
        self._pull: Pull | None = None
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled; what was in hand and not acknowledged then is delivered again, here or elsewhere."""
        self._pull = Pull(
            self._connection,
            subjects.stream_name(self._tenant, "report"),
            await self._first(),
            on_delivery=self._on_delivery,
            room=self._room,
            recover=self._recover,
        )
        try:
            await self._pull.run()
        finally:
            await self._pull.stop()

    def in_hand(self, task_id: str) -> bool:
        """Something about the task has arrived and is not applied yet."""
        return task_id in self._waiting

    async def _first(self) -> str:
        while True:
            try:
                return await self._recover()
            except BusUnavailable as error:
                _log.warning("reports_not_readable", error=str(error))
                await asyncio.sleep(1.0)

    async def _recover(self) -> str:
        self._streams.forget("report")
        stream = await self._streams.ensure("report")
        spec = ConsumerSpec(
            stream=stream,
            name=CONSUMER,
            filter=subjects.every(self._tenant, "report"),
            start=Start(first=True),
            ack_wait_s=self._settings.reports_ack_wait_s,
        )
        await ensure(self._connection, spec)
        return CONSUMER

    def _room(self) -> int:
        free = self._settings.report_batch - self._in_hand
        return free if free >= self._settings.report_batch // 2 else 0

    def _on_delivery(self, delivered: Delivered) -> None:
        self._in_hand += 1
        task_id = _task_of(delivered)
        self._unfinished[task_id] += 1
        waiting = self._waiting.get(task_id)
        if waiting is not None:
            waiting.append(delivered)
            self._arrived[task_id].set()
            return
        self._waiting[task_id] = [delivered]
        self._arrived[task_id] = asyncio.Event()
        self._scope.spawn(self._work(task_id), f"reports {task_id}")

    async def _work(self, task_id: str) -> None:
        """Apply what waits for one task until nothing does."""
        try:
            while self._waiting[task_id]:
                self._arrived[task_id].clear()
                letters = await self._open(self._take(task_id))
                if all(letter.report.kind == "started" for letter in letters):
                    letters += await self._linger(task_id)
                if letters:
                    await self._apply(task_id, sorted(letters, key=_order))
        finally:
            del self._waiting[task_id], self._arrived[task_id]
            self._done(self._unfinished.pop(task_id))  # what has no answer is delivered again

    def _take(self, task_id: str) -> list[Delivered]:
        taken, self._waiting[task_id] = self._waiting[task_id], []
        return taken

    async def _linger(self, task_id: str) -> list[Letter]:
        """A short task's result follows its "started" at once: wait a moment, and both are one write."""
        try:
            async with asyncio.timeout(self._settings.started_linger_s):
                await self._arrived[task_id].wait()
        except TimeoutError:
            return []
        return await self._open(self._take(task_id))

    async def _open(self, delivered: list[Delivered]) -> list[Letter]:
        """The reports in what was delivered; what is none is put aside for good, with a word in the log."""
        letters = []
        for item in delivered:
            try:
                letters.append(await self._letter(item))
            except (InvalidInput, IntegrityError, BlobNotFound) as error:
                self._finish(item, b"+TERM", "malformed")
                _log.error("report_malformed", subject=item.subject.decode("utf-8", "replace"), error=str(error))
            except BoxhubError as error:  # its blob cannot be read now
                self._finish(item, _nak(1.0), "held_back")
                _log.warning("report_not_readable", subject=item.subject.decode("utf-8", "replace"), error=str(error))
        return letters

    async def _letter(self, delivered: Delivered) -> Letter:
        subject = subjects.parse(bytes(delivered.subject).decode("utf-8", "replace"))
        envelope = envelopes.decode(delivered.data)
        fetching = self._refs.resolve(envelope)
        if fetching is not None:
            envelope = await fetching
        try:
            report = Report.model_validate(envelope.data)
        except ValidationError as error:
            raise InvalidInput(f"not a report: {error}") from error
        if report.task != subject.name:
            raise InvalidInput(f"a report on {report.task!r} came under the name of {subject.name!r}")
        return Letter(delivered, report, subject.sender)

    async def _apply(self, task_id: str, letters: list[Letter]) -> None:
        fates: list[tuple[Letter, str]] = []

        def fold(task: StoredTask) -> StoredTask:
            fates.clear()
            newest = task.attempts[-1].number if task.attempts else 0
            if any(letter.report.attempt > newest for letter in letters):
                raise StaleAttempt(f"task {task_id!r}: a report of an attempt above {newest}", task=task_id)
            for letter in letters:
                task, fate = self._one(task, letter)
                fates.append((letter, fate))
            return task

        try:
            await self._store.change(task_id, fold)
        except (StaleAttempt, TaskNotFound):  # of an attempt, or a task, that does not exist
            fates[:] = [(letter, "fenced") for letter in letters]
        except (PayloadTooLarge, InvalidInput) as error:
            await self._too_large(task_id, letters, error)
            return
        except (StoreUnavailable, BusUnavailable) as error:
            _log.warning("reports_not_stored", task=task_id, reports=len(letters), error=str(error))
            fates[:] = [(letter, "held_back") for letter in letters]
        for letter, fate in fates:
            again = _nak(_AGAIN_S * letter.delivered.deliveries)
            self._finish(letter.delivered, again if fate == "held_back" else b"+ACK", fate)

    def _one(self, task: StoredTask, letter: Letter) -> tuple[StoredTask, str]:
        report, early = letter.report, letter.delivered.deliveries < _HOLES_WAIT_DELIVERIES
        if (
            report.kind in _FINAL
            and early
            and not task.terminal
            and task.attempts[-1].number == report.attempt
            and state.missing_before(task, report)
        ):
            return task, "held_back"  # what was said before the last word is still on its way
        try:
            after = state.apply_report(task, report, sender=letter.sender, now=self._clock(), random=self._random)
        except (StaleAttempt, TerminalState):
            return task, "fenced"
        except InvalidInput as error:
            _log.error("report_malformed", task=task.id, kind=report.kind, error=str(error))
            return task, "malformed"
        return after, "duplicate" if after is task else "applied"

    async def _too_large(self, task_id: str, letters: list[Letter], error: BoxhubError) -> None:
        """The record cannot hold what these say. One by one; in place of the guilty one goes the error that it is."""
        if len(letters) > 1:
            for letter in letters:
                await self._apply(task_id, [letter])
            return
        letter = letters[0]
        if letter.report.data is _DROPPED:  # not even that fits
            self._finish(letter.delivered, b"+TERM", "malformed")
            return
        _log.error("report_too_large", task=task_id, kind=letter.report.kind, error=str(error))
        kind = "failed" if letter.report.kind in _FINAL else "log"
        letter.report = letter.report.model_copy(update={"kind": kind, "data": _DROPPED, "error": error.to_info()})
        await self._apply(task_id, [letter])

    def _finish(self, delivered: Delivered, answer: bytes, fate: str) -> None:
        self.counts[fate] += 1
        try:
            self._connection.send(delivered.reply, answer)
        except BoxhubError as error:  # it comes again, and is a duplicate then
            _log.warning("report_not_acknowledged", error=str(error))
        self._unfinished[_task_of(delivered)] -= 1
        self._done(1)

    def _done(self, count: int) -> None:
        self._in_hand -= count
        if self._pull is not None and self._room() > 0:
            self._pull.wake()


def _task_of(delivered: Delivered) -> str:
    """The last token of the subject."""
    subject = bytes(delivered.subject)
    return subject[subject.rindex(b".") + 1 :].decode("utf-8", "replace")


def _order(letter: Letter) -> tuple[int, int]:
    return letter.report.attempt, letter.report.sequence


def _nak(delay_s: float) -> bytes:
    return b'-NAK {"delay": %d}' % int(delay_s * 1e9)
