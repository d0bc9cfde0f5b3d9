"""What can be wrong with the input, each with its exit code and the cure."""

from __future__ import annotations

from typing import Final

REPAIRED: Final = 0
NOT_REPAIRED: Final = 1
NOT_A_DIRECTORY: Final = 10
NO_TESTS: Final = 11
ALREADY_GREEN: Final = 12
BROKEN: Final = 13
HANGS: Final = 14
TOO_LARGE: Final = 15
UNREADABLE: Final = 16
NOT_WRITABLE: Final = 17
SYSTEM: Final = 20
INTERRUPTED: Final = 130


class Problem(Exception):
    """The team cannot start, or cannot finish; ``str()`` is one line for the user."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
