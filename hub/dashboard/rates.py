"""Messages per second by kind, over the last second and as history."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from hub.dashboard.limits import FeedLimits
from hub.dashboard.tap import Heard, Window

_NAMES: Final[dict[Heard, str]] = {
    "inbox": "messages_s",
    "event": "events_s",
    "call": "calls_s",
    "signal": "signals_s",
    "report": "reports_s",
}


class Rates:
    """Where a kind is sampled its rate is an estimate from the part that was listened to."""

    def __init__(self, limits: FeedLimits) -> None:
        self._windows: deque[Window] = deque(maxlen=max(1, math.ceil(1 / limits.frame_s)))
        self._history: deque[list[float]] = deque(maxlen=limits.history)
        self._second = 0
        self._unlisted = 0

    def add(self, window: Window) -> None:
        self._windows.append(window)
        self._unlisted += window.unlisted
        if (second := math.floor(window.ended_at)) != self._second:
            self._second = second
            self._history.append([self._rate(kind) for kind in _NAMES])

    def now(self) -> dict[str, Any]:
        """``dropped``: messages since the start that were counted and are not among the rows. ``sampled``: kinds
        of which only a part was listened to in the last second."""
        rates: dict[str, Any] = {name: self._rate(kind) for kind, name in _NAMES.items()}
        rates["presence_s"] = self._presence()
        rates["dropped"] = self._unlisted
        rates["sampled"] = sorted({_NAMES[k] for w in self._windows for k in w.sampled if k in _NAMES})
        return rates

    def history(self) -> dict[str, Any]:
        """One column per kind, one value per second, oldest first; the last one is of now."""
        return {name: [row[i] for row in self._history] for i, name in enumerate(_NAMES.values())}

    def _rate(self, kind: Heard) -> float:
        listened = sum(w.listened_s.get(kind, 0) for w in self._windows)
        seen = sum(w.counts.get(kind, 0) for w in self._windows)
        if kind == "signal":  # heartbeats are the platform's own noise; they are told apart
            seen = max(0, seen - sum(w.presence for w in self._windows))
        return round(seen / listened, 1) if listened else 0.0

    def _presence(self) -> float:
        listened = sum(w.listened_s.get("signal", 0) for w in self._windows)
        return round(sum(w.presence for w in self._windows) / listened, 1) if listened else 0.0
