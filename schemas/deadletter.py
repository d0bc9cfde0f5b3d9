"""Dead letters: messages and events no handler could take, with the cause, ready to be redriven."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from schemas.errors import ErrorInfo
from schemas.model import Value


class DeadLetter(Value):
    """``sequence`` names it in the dead-letter stream; ``envelope`` is the original, as JSON."""

    sequence: int = 0
    box: str  # whose handler gave up
    subject: str  # where the original was published
    handler: str = ""
    envelope: dict[str, Any]
    deliveries: int = 0
    cause: ErrorInfo
    causes: list[ErrorInfo] = Field(default_factory=list)  # of the earlier tries, oldest first
    at: float = 0.0
