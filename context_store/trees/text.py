"""What is text, and unified diffs of it."""

from __future__ import annotations

import difflib
from typing import Final

_LOOKED_AT: Final = 8000
_MAX_LINES: Final = 20_000


def is_text(data: bytes) -> bool:
    """No NUL among the first 8,000 bytes: the rule git uses."""
    return b"\0" not in data[:_LOOKED_AT]


def lines(data: bytes) -> list[bytes]:
    """Split after each newline and nowhere else; joined again they give ``data``."""
    found = data.split(b"\n")
    last = found.pop()
    return [line + b"\n" for line in found] + ([last] if last else [])


def unified_diff(
    path: str, before: bytes | None, after: bytes | None, *, before_path: str | None = None, context: int = 3
) -> str:
    """A unified diff as git writes it; ``None`` is an absent side. One line when a side is binary or too long.

    Empty when nothing differs. ``before_path``: its name on the first side, if that was another.

    Bytes that are not UTF-8 are shown as replacement characters, so the result is for reading.
    """
    if before == after:
        return ""
    before_path = before_path or path
    if not is_text(before or b"") or not is_text(after or b""):
        return f"Binary files {_name('a', before_path, before)} and {_name('b', path, after)} differ\n"
    a, b = lines(before or b""), lines(after or b"")
    if max(len(a), len(b)) > _MAX_LINES:
        return f"{path}: {max(len(a), len(b))} lines, too many to compare\n"
    shown = difflib.unified_diff(
        [_shown(line) for line in a],
        [_shown(line) for line in b],
        _name("a", before_path, before),
        _name("b", path, after),
        n=context,
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in shown)


def _name(side: str, path: str, data: bytes | None) -> str:
    return "/dev/null" if data is None else f"{side}/{path}"


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")
