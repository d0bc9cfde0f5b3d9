"""How much one workspace may hold; met while counting, before anything large is read."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import PayloadTooLarge


@dataclass(frozen=True, slots=True)
class TreeLimits:
    files: int = 100_000
    total_bytes: int = 1024 * 1024 * 1024
    depth: int = 100


@dataclass(slots=True)
class Count:
    """What was seen so far of one directory."""

    limits: TreeLimits
    where: str
    files: int = 0
    total_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """One more file. Raises `PayloadTooLarge` that names the limit."""
        self.files += 1
        self.total_bytes += size_bytes
        if self.files > self.limits.files:
            raise self._over("files", self.limits.files)
        if self.total_bytes > self.limits.total_bytes:
            raise self._over("bytes", self.limits.total_bytes)

    def enter(self, depth: int) -> None:
        if depth > self.limits.depth:
            raise self._over("levels of directories", self.limits.depth)

    def _over(self, what: str, limit: int) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"{self.where} has more than {limit} {what}; leave out what is not source, or raise the limit",
            limit=limit,
            what=what,
        )
