"""Fixtures that every test may use: real servers, a browser, no trace of the developer's own hub."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import hypothesis
import pytest

from hub.local import LocalSystem
from tests.servers.chromium import FLAGS, find_chromium
from tests.servers.mongodb import mongodb
from tests.servers.nats import NatsBinary, NatsServer, find_nats_binaries
from tests.servers.podman import Podman
from tests.servers.requirement import find_program, missing

if TYPE_CHECKING:
    from playwright.async_api import Browser

# Deadlines per example measure the machine's other tenants; pytest-timeout bounds the whole test.
hypothesis.settings.register_profile("boxhub", deadline=None)
hypothesis.settings.load_profile("boxhub")


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, nor a process it starts, sees the developer's settings or running hub."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("BOXHUB_") and not name.startswith("BOXHUB_TEST_"):
                patch.delenv(name)
        patch.setenv("BOXHUB_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell ignores SIGINT for what it starts in the background, and programs inherit that: undo it for ours."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tenant() -> str:
    """A tenant of this test's own, so that tests can share a server."""
    return f"t{uuid4().hex[:10]}"


# --- containers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    program = find_program("podman")
    if program is None:
        missing("podman", "install the package podman, with runc where cgroups of both versions are mounted")
    with TemporaryDirectory(prefix="podman-") as directory, Podman(program, Path(directory)) as running:
        yield running  # a short path: it takes no long ones


# --- nats-server --------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a nats-server on the oldest and the newest one here; ``nats_versions`` narrows that."""
    if "nats_binary" not in metafunc.fixturenames:
        return
    binaries: list[NatsBinary | None] = [*find_nats_binaries()]
    marker = metafunc.definition.get_closest_marker("nats_versions")
    which = marker.args[0] if marker is not None else "all"
    chosen = {"all": binaries, "oldest": binaries[:1], "current": binaries[-1:]}[which]
    metafunc.parametrize("nats_binary", chosen or [None], indirect=True, ids=str, scope="session")


@pytest.fixture(scope="session")
def nats_binary(request: pytest.FixtureRequest) -> NatsBinary:
    binary: NatsBinary | None = request.param
    if binary is None:
        missing("nats-server", "run `sh scripts/ensure_nats_server.sh`")
    return binary


@pytest.fixture
def nats_server(nats_binary: NatsBinary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A fresh server for this test alone, which may kill, pause and restart it."""
    server = NatsServer(nats_binary, tmp_path_factory.mktemp("nats"))
    server.launch()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def shared_nats_server(nats_binary: NatsBinary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One server for many tests, each in its own ``tenant``; leave it running."""
    server = NatsServer(nats_binary, tmp_path_factory.mktemp("shared-nats"))
    server.launch()
    try:
        yield server
    finally:
        server.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show the log of every server that a failed test used."""
    report: pytest.TestReport = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, NatsServer):
                report.sections.append((f"{name}: log of {value.binary}", value.log_tail()))
            elif isinstance(value, LocalSystem):
                for log in sorted(value.home.logs.glob("*.log")):
                    report.sections.append((f"{name}: {log.name}", log.read_text(errors="replace")[-4000:]))
    return report


# --- other servers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mongodb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MongoDB-protocol server for the whole run; use a database name of your own."""
    with mongodb(tmp_path_factory.mktemp("mongodb")) as url:
        yield url


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    return find_chromium()


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Headless Chromium under Playwright, for one test."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()
