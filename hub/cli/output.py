"""What a command prints: a table for people, JSON for programs, and an error as one line with an exit code."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas import errors
from schemas.errors import BoxhubError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

EXIT_CODES: Final[tuple[tuple[type[BoxhubError], int], ...]] = (
    (errors.InvalidInput, 2),
    (errors.NotFound, 3),
    (errors.Conflict, 4),
    (errors.Unavailable, 5),
    (errors.Unauthenticated, 6),
    (errors.PermissionDenied, 6),
    (errors.DeadlineExceeded, 7),
)
"""The first family that fits; 1 for any other error."""

_STATE_STYLE: Final[Mapping[str, str]] = {
    "ready": "green", "completed": "green", "committed": "green",
    "working": "cyan", "starting": "cyan", "open": "cyan", "submitted": "yellow", "draining": "yellow",
    "failed": "red", "rejected": "red", "gone": "red", "canceled": "dim", "stopped": "dim", "discarded": "dim",
    "superseded": "dim",
}  # fmt: skip


def exit_code(error: BoxhubError) -> int:
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def console() -> Console:
    return Console(highlight=False)


def show_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Rows under headings; ``empty`` says what to do when there is nothing yet."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if table.row_count:
        console().print(table)
    else:
        console().print(Text(empty, style="dim"))


def ago(at: float) -> str:
    """``at`` (epoch seconds) as a short age: ``4s``, ``12m``, ``3h``, ``2d``; empty for 0."""
    return _short(time.time() - at) if at else ""


def until(at: float | None) -> str:
    """``at`` as the time left: ``in 3h``; ``expired`` when it is over, empty for none."""
    if at is None:
        return ""
    left = at - time.time()
    return f"in {_short(left)}" if left > 0 else "expired"


def size(n: float) -> str:
    """Bytes, short: ``512 B``, ``3.1 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"


def _short(seconds: float) -> str:
    s = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if s >= length:
            return f"{s // length}{unit}"
    return f"{s}s"


def show_error(error: BoxhubError) -> None:
    """One line on stderr: what, which, and the cure."""
    text = Text.assemble((f"{error.code}: ", "bold red"), error.message)
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _cell(value: Any) -> Text:
    text = "" if value is None else str(value)
    return Text(text, style=_STATE_STYLE.get(text, ""))
