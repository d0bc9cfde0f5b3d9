"""Parts and artifacts as A2A 1.0 defines them: the content of task messages, results and turns."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from schemas.ids import new_id
from schemas.model import Value


class Part(Value):
    """Exactly one of ``text``, ``data`` (any JSON), ``raw`` (bytes), ``url`` or ``blob`` (a hash in our store)."""

    text: str | None = None
    data: Any = None
    raw: bytes | None = None
    url: str | None = None
    blob: str | None = None
    filename: str | None = None
    media_type: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [n for n in ("text", "data", "raw", "url", "blob") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"a part has one content, this one has {', '.join(given)}")
        return self


class Message(Value):
    """What one side says to the other inside a task."""

    id: str = Field(default_factory=lambda: new_id("msg"))
    role: Literal["user", "agent"] = "user"
    parts: list[Part] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class Artifact(Value):
    """Something a task produced."""

    id: str = Field(default_factory=lambda: new_id("art"))
    name: str = ""
    description: str = ""
    parts: list[Part] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
