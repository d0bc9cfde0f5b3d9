"""Shell commands of skills: output streamed, ended as whole trees."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from box_agent.worker import processes
from box_agent.worker.config import environment_with
from box_agent.worker.interrupt import CallCancelled
from schemas.errors import DeadlineExceeded, SkillFailed
from schemas.ids import new_id

MARKER: Final = "BOXHUB_RUN"
KEPT_BYTES: Final = 1024 * 1024
"""Of a command's output; the beginning of a longer one is dropped."""
_SAID_BYTES: Final = 4096
_CHECK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended. ``output`` is stdout and stderr as they came, the last MiB of it."""

    command: str
    exit_code: int
    output: str
    truncated: bool
    duration_s: float

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    def check(self) -> Completed:
        """Itself, or `SkillFailed` when the command failed."""
        if not self.ok:
            raise SkillFailed(
                f"{self.command!r} ended with exit code {self.exit_code}: {self.output[-_SAID_BYTES:].strip()}",
                type="CommandFailed",
                exit_code=self.exit_code,
            )
        return self


def run(
    command: str,
    *,
    directory: Path,
    timeout_s: float | None = None,
    on_output: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] = lambda: False,
    shield: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Completed:
    """Run ``command`` in a shell until it ends; what it left in the background goes on until the box ends.

    After ``timeout_s`` the command and everything it started is killed and `DeadlineExceeded` raised; the same when
    the call is cancelled or anything else is raised here meanwhile. Nothing is raised by a signal inside ``shield``.
    """
    began = time.monotonic()
    until = None if timeout_s is None else began + timeout_s
    mark = new_id("run")
    process: subprocess.Popen[bytes] | None = None
    output: _Output | None = None
    ended = False
    try:
        with shield():
            process = _start(command, directory, mark)
            output = _Output(process, on_output)
        ended = output.follow(until, cancelled)
    finally:
        with shield():
            if process is not None and not ended:
                _kill(process, mark)
            if output is not None:
                output.close()
    if cancelled():
        raise CallCancelled
    took = time.monotonic() - began
    if not ended and timeout_s is not None:
        raise DeadlineExceeded(
            f"{command!r} did not end within {timeout_s:g} s and was killed",
            timeout="run",
            seconds=timeout_s,
            output=output.text()[-_SAID_BYTES:],
        )
    return Completed(command, process.returncode, output.text(), output.truncated, took)


def _start(command: str, directory: Path, mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment_with({MARKER: mark}),
    )


class _Output:
    """What a command prints, passed on as it comes, its end kept."""

    def __init__(self, process: subprocess.Popen[bytes], on_output: Callable[[str], None]) -> None:
        assert process.stdout is not None
        self._process = process
        self._pipe = process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._on_output = on_output
        self._kept = bytearray()
        self.truncated = False

    def follow(self, until: float | None, cancelled: Callable[[], bool]) -> bool:
        """Until the command ends; ``False`` at the deadline, or when cancelled."""
        poll = select.poll()
        ending = os.pidfd_open(self._process.pid)
        poll.register(self._pipe.fileno(), select.POLLIN)
        poll.register(ending, select.POLLIN)
        try:
            while not cancelled():
                left = _CHECK_S if until is None else min(_CHECK_S, until - time.monotonic())
                if left <= 0:
                    return False
                ready = {fd for fd, _ in poll.poll(left * 1000)}
                if self._pipe.fileno() in ready and not self._read():
                    poll.unregister(self._pipe.fileno())  # closed by all; the end of the command is still to come
                if ending in ready:
                    self._process.wait()
                    while self._read():
                        pass
                    return True
            return False
        finally:
            os.close(ending)

    def _read(self) -> bool:
        """Takes what is there; ``False`` when there is nothing."""
        try:
            data = os.read(self._pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        if not data:
            return False
        self._kept += data
        if len(self._kept) > KEPT_BYTES:
            del self._kept[:-KEPT_BYTES]
            self.truncated = True
        self._on_output(data.decode(errors="replace"))
        return True

    def text(self) -> str:
        return self._kept.decode(errors="replace")

    def close(self) -> None:
        self._pipe.close()


def _kill(process: subprocess.Popen[bytes], mark: str) -> None:
    """The command, what is below it, and what left it for a session or parent of its own."""
    processes.kill_tree(process.pid)
    process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the group has ended with its leader
    processes.kill_marked(frozenset((mark,)), marker=MARKER)
