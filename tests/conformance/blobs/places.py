"""Where the shared stores of these tests keep their objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import uuid4

from context_store.blobs.filesystem import FilesystemStore
from context_store.blobs.jetstream import JetStreamStore
from context_store.blobs.objects import ObjectStore
from tests.servers.nats import NatsServer, find_nats_binaries
from tests.servers.requirement import missing

MAX_BLOB: Final = 3_000_000
BINARIES: Final = {str(binary): binary for binary in find_nats_binaries()}
SHARED: Final = ("file", "memory", *(BINARIES or ("nats-server",)))
NewObjects = Callable[[], ObjectStore]


class Servers:
    """A nats-server of each version here, started when the first test wants it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, NatsServer] = {}

    def url(self, version: str) -> str:
        if version not in BINARIES:
            missing("nats-server", "run `sh scripts/ensure_nats_server.sh`")
        if version not in self._running:
            directory = self._directory / version
            directory.mkdir()
            self._running[version] = NatsServer(BINARIES[version], directory)
            self._running[version].launch()
        return self._running[version].url

    def close(self) -> None:
        for server in self._running.values():
            server.close()


def shared_objects(kind: str, servers: Servers, directory: Path) -> NewObjects:
    """Makes stores over one and the same place."""
    if kind in ("file", "memory"):
        url = f"memory://{uuid4().hex}" if kind == "memory" else f"file://{directory}/objects"
        return lambda: FilesystemStore(url)
    url = servers.url(kind)
    return lambda: JetStreamStore(url)
