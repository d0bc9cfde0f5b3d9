"""What this process was started with."""

from __future__ import annotations

import os


def inherited_environment() -> dict[str, str]:
    """A copy of the environment, which the children of a local system get with their own settings on top."""
    return dict(os.environ)
