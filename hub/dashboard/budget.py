"""A token bucket: what may still be spent now."""

from __future__ import annotations


class Budget:
    """Fills with ``per_s`` a second up to one second's worth, so a short burst is free. May go into debt."""

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._tokens = per_s
        self._at = now

    def refill(self, now: float) -> float:
        """The tokens there are at ``now``."""
        self._tokens = min(self._per_s, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        return self._tokens

    def spend(self, tokens: float) -> None:
        self._tokens -= tokens

    def take(self) -> bool:
        """Spend one token if there is one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
