"""One tenant's live state and traffic as numbered frames, the same bytes for every viewer.

A viewer gets a ``snapshot``, then ``delta`` frames numbered without holes: changed rows with absolute values,
``null`` for what is gone. One that falls behind gets a ``missed`` note and a fresh snapshot.

The feed is level-triggered: what passes on the bus only hints at what to read again; a sweep reads everything
now and then. While nobody watches nothing is read; the tap goes on, so that a new viewer sees what just happened.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client

from hub.dashboard.limits import FeedLimits
from hub.dashboard.observed import Hub
from hub.dashboard.rates import Rates
from hub.dashboard.state import State
from hub.dashboard.table import Row
from hub.dashboard.tap import Tap, Window
from hub.dashboard.viewers import Frame, Viewer
from schemas.errors import Overloaded
from schemas.subjects import Subject, stream_name

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Feed:
    """Use as ``async with Feed(hub) as feed``; it starts at once and never fails for want of bus or store:
    what cannot be had is said in every frame's ``health`` and tried again."""

    def __init__(self, hub: Hub, tenant: str | None = None, limits: FeedLimits | None = None) -> None:
        self.tenant = tenant or hub.settings.tenants[0]
        self.limits = limits or FeedLimits()
        self._hub = hub
        self._state = State(hub, self.tenant, self.limits)
        self._rates = Rates(self.limits)
        self._traffic: deque[Row] = deque(maxlen=self.limits.traffic)
        self._viewers: set[Viewer] = set()
        self._arrived = asyncio.Event()
        self._bus_down = "connecting"
        self._ending = False
        self._dead_letters = 0
        self._count_again_at = 0.0
        self._seq = 0
        self._snapshot: Frame | None = None
        self._tasks: asyncio.TaskGroup

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._loops = [self._tasks.create_task(loop()) for loop in (self._listen, self._read)]
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._ending = True  # nats-py swallows a cancellation that meets it while it flushes
        for loop in self._loops:
            loop.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[Viewer]:
        """A place among the viewers. Raises `Overloaded` when all are taken."""
        if len(self._viewers) >= self.limits.viewers:
            raise Overloaded(f"{self.limits.viewers} pages watch already; close one")
        if not self._viewers:  # nothing was read while nobody watched
            await self._state.read_all()
            self._state.take_changes()  # the snapshot has them
        viewer = Viewer(self._current, self.limits.frames_waiting)
        self._viewers.add(viewer)
        self._arrived.set()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    # --- the bus --------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while not self._ending:
            try:
                await self._listen_once()
            except (nats.errors.Error, OSError, TimeoutError) as error:
                self._bus_down = str(error) or type(error).__name__
                _log.warning("dashboard.bus_lost", tenant=self.tenant, error=self._bus_down)
            self._publish(None)
            await asyncio.sleep(1)

    async def _listen_once(self) -> None:
        async def stumbled(error: Exception) -> None:
            self._bus_down = str(error) or type(error).__name__

        async def disconnected() -> None:
            self._bus_down = "disconnected"

        client = Client()
        await client.connect(
            self._hub.settings.nats_url,
            name=f"boxhub dashboard {self.tenant}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=5,
            ping_interval=5,
            error_cb=stumbled,
            disconnected_cb=disconnected,
        )
        try:
            tap = Tap(client, self.tenant, self.limits, self)
            while not self._ending:
                window = await tap.turn()
                if client.is_connected:
                    self._bus_down = ""
                    await self._count_dead_letters(client, hinted=bool(window.counts.get("dead")))
                self._publish(window)
                await asyncio.sleep(self.limits.frame_s)
        finally:
            await client.close()

    async def _count_dead_letters(self, client: Client, *, hinted: bool) -> None:
        now = asyncio.get_running_loop().time()
        if not self._viewers or (now < self._count_again_at and not hinted):
            return
        self._count_again_at = now + self.limits.sweep_s
        try:
            info = await client.jetstream(timeout=2).stream_info(stream_name(self.tenant, "dead"))
            self._dead_letters = info.state.messages
        except nats.js.errors.NotFoundError:
            self._dead_letters = 0
        except (nats.errors.Error, TimeoutError) as error:  # JetStream is starting or choosing a leader
            _log.info("dashboard.dead_letters_uncounted", tenant=self.tenant, error=str(error))

    def note(self, subject: Subject, data: bytes) -> None:
        """The tap saw a message."""
        if self._viewers:
            self._state.hints.note(subject, data)

    def note_answer(self, box: str, skill: str, data: msgspec.Raw) -> None:
        """The tap saw the answer to a call."""
        if self._viewers:
            self._state.hints.note_answer(box, skill, data)

    def refresh(self) -> None:
        """A viewer changed something through another door: look at everything soon."""
        self._state.hints.note_everything()

    # --- the store ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        swept_at = 0.0
        while True:
            if not self._viewers:
                self._arrived.clear()
                await self._arrived.wait()
                swept_at = loop.time()  # read when the viewer came
            started_at = loop.time()
            if started_at - swept_at >= self.limits.sweep_s:
                await self._state.read_all()
                swept_at = loop.time()
            else:
                await self._state.read_hinted()
            took_s = loop.time() - started_at
            await asyncio.sleep(max(self.limits.read_s, took_s / self.limits.read_share - took_s))

    # --- frames ---------------------------------------------------------------------------------------------------

    def _publish(self, window: Window | None) -> None:
        """The next frame: what changed, to everyone."""
        rows: list[Row] = []
        if window is not None:
            rows = window.rows
            self._traffic.extend(rows)
            self._rates.add(window)
        changes = self._state.take_changes()
        self._seq += 1
        self._snapshot = None
        if self._viewers:
            delta = {"type": "delta", **self._head(), **changes, "traffic": rows}
            frame = Frame(_encode(delta).decode(), rows=len(rows))
            for viewer in self._viewers:
                viewer.offer(frame)

    def _current(self) -> Frame:
        """The whole state as of the last frame; encoded once however many ask."""
        if self._snapshot is None:
            whole = {
                "type": "snapshot",
                **self._head(),
                **self._state.everything(),
                "tenant": self.tenant,
                "traffic": list(self._traffic),
                "history": self._rates.history(),
            }
            self._snapshot = Frame(_encode(whole).decode())
        return self._snapshot

    def _head(self) -> dict[str, Any]:
        health = {"bus": self._bus_down, "store": self._state.trouble}
        return {
            "seq": self._seq,
            "at": round(time.time(), 3),
            "rates": self._rates.now(),
            "deadletters": self._dead_letters,
            "health": {name: why for name, why in health.items() if why},
        }
