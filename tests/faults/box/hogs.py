"""A Box that takes all it can get, of one thing after another."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from box_agent import Box, Context, skill


class Hog(Box):
    @skill
    def alive(self) -> bool:
        return True

    @skill
    def fork(self) -> None:
        """As fast as it can, from one parent: growth by doubling is what `Workshop.breed` does."""
        while True:
            if os.fork() == 0:
                time.sleep(600)

    @skill
    def start_threads(self) -> None:
        while True:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    @skill
    def hoard(self) -> None:
        kept = []
        while True:
            kept.append(bytearray(10_000_000))

    @skill
    def hoard_in_children(self) -> None:
        code = "import time; x = bytearray(60_000_000); time.sleep(600)"
        children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
        children[0].wait()

    @skill
    def write_a_large_file(self) -> None:
        with Path("large").open("wb") as file:
            while True:
                file.write(bytes(100_000))

    @skill
    def write_many_files(self) -> None:
        """Each of them small enough."""
        number = 0
        while True:
            number += 1
            Path(f"file-{number}").write_bytes(bytes(20_000))

    @skill
    def write_empty_files(self) -> None:
        number = 0
        while True:
            number += 1
            Path(f"file-{number}").touch()

    @skill
    def fill_scratch(self) -> None:
        while True:
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(bytes(50_000))

    @skill
    def open_files(self) -> None:
        kept = []
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))

    @skill
    def spin(self) -> None:
        while True:
            pass

    @skill
    def flood_log(self, context: Context) -> None:
        while True:
            context.log("x" * 200)

    @skill
    def flood_output(self) -> None:
        while True:
            print("y" * 4000, flush=True)

    @skill
    def flood_the_socket(self) -> None:
        """Around every bound that the platform's code in the box has."""
        frame = b'{"t": "emit", "call": "c", "kind": "log", "data": {"text": "z"}}'
        data = (len(frame).to_bytes(4, "big") + frame) * 200
        for fd in range(3, 64):
            try:
                found = stat.S_ISSOCK(os.fstat(fd).st_mode)
            except OSError:
                continue
            if found:
                with socket.socket(fileno=fd) as sock:
                    while True:
                        sock.sendall(data)

    @skill
    def ask_without_end(self) -> None:
        """Requests to the bus, more at once than anybody answers."""
        frame = b'{"t": "request", "n": 1, "call": "c", "verb": "call", "arguments": {}}'
        data = (len(frame).to_bytes(4, "big") + frame) * 200
        sock = next(fd for fd in range(3, 64) if _is_socket(fd))
        while True:
            os.write(sock, data)


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
