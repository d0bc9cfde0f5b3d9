"""A MongoDB-protocol server for the tests: from outside, mongod, or FerretDB over SQLite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import ServerProcess, free_port
from tests.servers.requirement import find_program, missing


@contextmanager
def mongodb(directory: Path) -> Iterator[str]:
    """The URL of a server that answers. ``directory`` keeps its data; the server ends with the block.

    ``BOXHUB_TEST_MONGODB_URL`` names a server of your own, which is left running.
    """
    if url := os.environ.get("BOXHUB_TEST_MONGODB_URL"):
        yield url
        return
    command: list[str | Path]
    if mongod := find_program("mongod"):
        port = free_port()
        url = f"mongodb://127.0.0.1:{port}/"
        command = [mongod, "--dbpath", directory, "--bind_ip", "127.0.0.1", "--port", str(port)]
        process = ServerProcess("mongod", command, is_ready=lambda line: "Waiting for connections" in line)
    elif ferretdb := find_program("ferretdb"):
        command = [ferretdb, directory]
        process = ServerProcess("ferretdb", command, is_ready=lambda line: line.startswith("mongodb://"))
    else:
        missing("a MongoDB-protocol server", "install mongod, or Go and run `make test`, which builds FerretDB")
    process.launch()
    try:
        ready_line = process.wait_ready()
        yield url or ready_line
    finally:
        process.stop()
