"""Key-values: small JSON documents with a revision."""

from __future__ import annotations

from typing import Any

from schemas.model import Value


class Entry(Value):
    """``revision`` grows with every write of the key and never repeats, also across a delete."""

    key: str
    value: Any = None
    revision: int
    updated_at: float = 0.0
    expires_at: float | None = None
    deleted: bool = False


class KeyChange(Value):
    """A key-value that a branch changed since its fork: what the base had and what it has now; ``None`` is nothing."""

    key: str
    base: Entry | None = None
    ours: Entry | None = None
