"""Heartbeats and goodbye: how the hub knows who is there. Instances of one address differ by ``instance``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from schemas.errors import BoxhubError

if TYPE_CHECKING:
    from box_agent.bus.connection import Connection
    from box_agent.bus.signals import Signals
    from schemas.box import LiveBox

BEAT: Final = "presence.beat"
GOODBYE: Final = "presence.goodbye"


class Presence:
    """Publishes ``live()`` every ``beat_s`` seconds, and at once when told that it changed."""

    def __init__(self, connection: Connection, signals: Signals, live: Callable[[], LiveBox]) -> None:
        self._connection = connection
        self._signals = signals
        self._live = live
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            if self._connection.connected:
                try:
                    self._signals.publish(BEAT, self._live().wire())
                except BoxhubError as error:
                    self._connection.faults.report("beat_not_sent", error=str(error))
            try:
                async with asyncio.timeout(self._connection.settings.beat_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def goodbye(self) -> None:
        """The last word of this instance."""
        live = self._live()
        if self._connection.connected:
            self._signals.publish(GOODBYE, {"id": live.id, "instance": live.instance})
