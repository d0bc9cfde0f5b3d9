"""Which version of boxhub this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The version of the installed distribution; ``"0"`` in a tree that was never installed."""
    try:
        return installed_version("boxhub")
    except PackageNotFoundError:
        return "0"
