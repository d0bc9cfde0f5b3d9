"""Faults that may come in floods (drops, reconnect tries): each kind is counted, and logged at most once in a while."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

_EVERY_S = 5.0


class Faults:
    """``counts`` holds how often each kind happened."""

    def __init__(self, **context: Any) -> None:
        self.counts: Counter[str] = Counter()
        self._context = context
        self._logged: dict[str, tuple[float, int]] = {}

    def report(self, event: str, **fields: Any) -> None:
        """Count ``event``; log it as a warning unless it was logged within the last five seconds."""
        self.counts[event] += 1
        now = time.monotonic()
        last, counted = self._logged.get(event, (float("-inf"), 0))
        if now - last < _EVERY_S:
            return
        self._logged[event] = (now, self.counts[event])
        self._log().warning(event, times=self.counts[event] - counted, **fields)

    def note(self, event: str, **fields: Any) -> None:
        """Something worth a line that is no fault."""
        self._log().info(event, **fields)

    def _log(self) -> Any:
        import structlog  # 50 ms that a process without faults need not spend

        return structlog.get_logger("boxhub.bus").bind(**self._context)
