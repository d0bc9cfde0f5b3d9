"""One possible fix: a single edit of a single file, and what to say about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from .module import Edit, Module

SHOWN = 60


@dataclass(frozen=True, slots=True)
class Candidate:
    """A syntactically valid edit. Two candidates with the same resulting file are the same candidate."""

    path: str
    line: int
    operator: str
    description: str
    new_source: str
    edit: Edit
    weight: float
    """How promising it was when it was ordered; only comparisons within one run mean anything."""

    @property
    def id(self) -> str:
        """Twelve hex digits of the path and resulting source: the same in every run and on every machine."""
        return hashlib.sha256(f"{self.path}\0{self.new_source}".encode()).hexdigest()[:12]

    def summary(self) -> dict[str, Any]:
        """What a message says of it: the edit, not the file."""
        return {
            "id": self.id,
            "path": self.path,
            "line": self.line,
            "operator": self.operator,
            "description": self.description,
            "edit": {"start": self.edit.start, "end": self.edit.end, "replacement": self.edit.replacement},
        }


def describe(module: Module, edit: Edit) -> str:
    """The edit in one line: `<` → `<=` in `while low < high:`."""
    old, new = _short(module.text[edit.start : edit.end]), _short(edit.replacement)
    line = module.line_of(edit.start)
    start, end = module.line_span(line, line)
    context = _short(module.text[start:end])
    where = "" if context == old else f" in `{context}`"
    if not old:
        return f"insert `{new}`{where}"
    if not new:
        return f"drop `{old}`{where}"
    return f"`{old}` → `{new}`{where}"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else f"{flat[: SHOWN - 1]}…"
