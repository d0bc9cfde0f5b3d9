"""A hostile box with something outside to get hold of, and the walls of the local driver, whole or with a hole."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from box_agent import Box
from box_agent.driver import Handle
from box_agent.drivers.local import mounts
from box_agent.drivers.local.driver import LocalDriver
from tests.conformance.box.conftest import VARIABLES, Workbench, ask, usable
from tests.escape.granted import GRANTED, TARGET, Granted
from tests.escape.hostile import CASES, Facts, Hostile


def with_hole(hole: str) -> type[LocalDriver]:
    """The driver with one guard taken out of its far side, by a line of Python that runs there first."""
    return type("Holed", (LocalDriver,), {"boot": f"{hole}; {LocalDriver.boot}" if hole else LocalDriver.boot})


@contextmanager
def outside() -> Iterator[Facts]:
    """Things of the node that a box must not reach."""
    with tempfile.TemporaryDirectory(prefix="boxhub-outside-") as folder, Sockets() as stack:
        Path(folder).chmod(0o777)
        secret = Path(folder, "secret")
        secret.write_text("hunter2")
        secret.chmod(0o666)
        tcp = stack.sock(socket.socket(socket.AF_INET6))
        tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        tcp.bind(("::", 0))
        tcp.listen()
        abstract = stack.sock(socket.socket(socket.AF_UNIX))
        name = f"boxhub-{secrets.token_hex(8)}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        path = stack.sock(socket.socket(socket.AF_UNIX))
        path.bind(f"{folder}/socket")
        Path(folder, "socket").chmod(0o777)
        path.listen()
        granted = stack.sock(socket.socket(socket.AF_INET6))
        granted.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        granted.bind(("::", 0))
        granted.listen()
        threading.Thread(target=_greet, args=(granted,), daemon=True).start()
        lent = _lent(Path(folder, "lent"))
        victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        key = secrets.randbelow(2**30) + 1
        segment = ctypes.CDLL(None).shmget(key, 4096, 0o1666)
        os.environ["NODE_SECRET"] = token = f"node-{secrets.token_hex(8)}"
        try:
            yield {
                "lent": str(lent), "granted_port": granted.getsockname()[1], "secret": str(secret),
                "tcp_port": tcp.getsockname()[1], "address": _address(), "abstract": name,
                "socket": f"{folder}/socket", "victim": victim.pid, "shm_key": key, "node_secret": token,
                "other_secret": f"other-{secrets.token_hex(8)}", "argument": "pytest", "prefix": sys.base_prefix,
                "homes": [str(path) for path in Path.home().iterdir() if not _leads_home(path)],
            }  # fmt: skip
            if os.path.ismount(lent / "inner"):
                mounts.unmount(str(lent / "inner"))
            assert victim.poll() is None, "the victim lives"
            assert secret.read_text() == "hunter2"
        finally:
            del os.environ["NODE_SECRET"]
            ctypes.CDLL(None).shmctl(segment, 0, None)
            victim.kill()
            victim.wait()


def _lent(folder: Path) -> Path:
    """A directory that everybody may write to, so that nothing but the wall keeps a box from it."""
    folder.mkdir()
    folder.chmod(0o777)
    data, tool = folder / "data.txt", folder / "tool"
    data.write_text("lent")
    data.chmod(0o666)
    tool.write_text("#!/bin/sh\ntrue\n")
    tool.chmod(0o755)
    (folder / "way").symlink_to("../secret")
    (folder / "inner").mkdir()
    (folder / "inner").chmod(0o777)
    with suppress(PermissionError):  # an ordinary user cannot, and then it is not there either
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (folder / "null").chmod(0o666)
    return folder


class Sockets:
    """Sockets that are closed in the end."""

    def __enter__(self) -> Sockets:
        self._socks: list[socket.socket] = []
        return self

    def sock(self, made: socket.socket) -> socket.socket:
        self._socks.append(made)
        return made

    def __exit__(self, *exc_info: object) -> None:
        for sock in self._socks:
            with suppress(OSError):  # nobody is connected
                sock.shutdown(socket.SHUT_RDWR)  # whoever waits in a thread is told
            sock.close()


def _greet(sock: socket.socket) -> None:
    """Until it is shut down."""
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"granted")


def _address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"  # this machine has no network either
        return str(sock.getsockname()[0])


def _leads_home(path: Path) -> bool:
    """What of a home may be seen: the way to the interpreter, and to the platform's own sources."""
    return any(Path(needed).is_relative_to(path) for needed in (sys.prefix, sys.base_prefix, __file__))


@asynccontextmanager
async def hostile(
    driver: LocalDriver, folder: Path, facts: Facts, lower: Box = Box.empty, *, granted: bool = False
) -> AsyncIterator[tuple[Workbench, Handle]]:
    """A live `Hostile` or `Granted`, on top of ``lower`` if there is one, and another box beside it with a secret."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(driver.aclose)
        if driver.boot == LocalDriver.boot:
            await usable(driver)
        else:
            info = await driver.probe()
            assert info.available, info.reason
        bench = Workbench(driver, folder)
        other = await bench.spawn(Hostile().env(SECRET=facts["other_secret"]))
        (other.directory / "private").write_text("private")
        facts["other_directory"] = str(other.directory)
        await bench.template(lower + Hostile().files({"module.py": "x = 1"}))
        for made in (folder / "driver" / "environments").iterdir():
            made.chmod(0o777)  # so that nothing but the wall keeps a box from writing there
        box: Box = Hostile()
        if granted:
            box = Granted().allow(ports=[facts["granted_port"]], mounts={TARGET: facts["lent"]})
        yield bench, await bench.spawn(lower + box.files({"module.py": "x = 1"}))


async def outcomes(
    hole: str = "", cases: Sequence[str] = tuple(CASES), lower: Box = Box.empty, *, granted: bool = False
) -> dict[str, str]:
    """Case → what came of it, with or without a hole in the wall, by a box that was granted something or nothing."""
    folder = Path(tempfile.mkdtemp(prefix="boxhub-escape-"))
    try:
        with outside() as facts:
            hole = hole.replace("OUTSIDE", str(Path(facts["secret"]).parent)).replace("PORT", str(facts["tcp_port"]))
            driver = with_hole(hole)(folder / "driver", VARIABLES)
            async with hostile(driver, folder, facts, lower, granted=granted) as (_, box):
                skills = {case: "misuse" if case in GRANTED else "attempt" for case in cases}
                found = {case: await box.call(ask(skill, case, facts)) for case, skill in skills.items()}
                assert await box.call(ask("alive"))
                if granted and not hole:
                    assert await box.call(ask("use", facts)) == "grantedlent"
        return found
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def held() -> dict[str, str]:
    """All cases against the whole wall, once."""
    return asyncio.run(outcomes())


@pytest.fixture(scope="session")
def held_with_grants() -> dict[str, str]:
    """All cases, by a box that was granted something."""
    return asyncio.run(outcomes(cases=[*GRANTED, *CASES], granted=True))
