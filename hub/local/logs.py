"""Log files that children append to, bounded by copy and truncate."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 8 * 1024


class LogFile:
    """One file and its predecessor ``….1``; together at most about twice ``max_bytes``.

    Children hold the file open for appending, so it is truncated in place rather than renamed; what they write in
    the moment between copy and truncation is lost.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes

    def open(self) -> int:
        """A descriptor to append to, readable by the owner only; the caller closes it."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def bound(self) -> bool:
        """Start over when the file has grown past its limit; true when it did."""
        try:
            if self.path.stat().st_size <= self._max_bytes:
                return False
        except FileNotFoundError:
            return False
        shutil.copy2(self.path, self.path.with_name(self.path.name + ".1"))
        os.truncate(self.path, 0)
        return True

    def tail(self, lines: int = 12) -> str:
        """The last lines, for an error message; empty when there is no file."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - TAIL_BYTES))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""
