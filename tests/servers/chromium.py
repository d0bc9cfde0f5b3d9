"""The browser on this machine. Playwright drives it; it downloads none of its own."""

from __future__ import annotations

from tests.servers.requirement import find_program, missing

FLAGS = (
    "--headless",
    "--no-sandbox",  # its own sandbox needs privileges that a CI container lacks; it only sees our own pages
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str:
    """The path of a Chromium; a test without one is skipped on a laptop and fails in CI."""
    found = find_program("chromium", "chromium-browser", "google-chrome")
    if found is None:
        missing("Chromium", "install the package chromium")
    return str(found)
