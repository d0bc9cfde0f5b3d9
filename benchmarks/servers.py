"""A private nats-server for the duration of a benchmark."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

_READY_S = 10.0


@contextmanager
def nats_server() -> Iterator[str]:
    """The URL of a fresh server with JetStream on loopback; ``BENCH_NATS_SERVER`` names another binary."""
    binary = os.environ.get("BENCH_NATS_SERVER") or shutil.which(
        "nats-server", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    )
    if binary is None:
        raise SystemExit("no nats-server on PATH; run `make setup`")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="boxhub-bench-") as store:
        command = [binary, "-js", "-sd", store, "-a", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_ready(process, port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nats-server was not ready within {_READY_S:g} s")
