"""The keeper: parent of one box's processes. It runs no user code and knows when the last of them has ended.

Every process of the box is its descendant: orphans become its children (it is a subreaper), whatever session, group or
environment they gave themselves. So "no child left" is the proof that the box has ended, and the keeper says so on its
control socket before it ends itself. When the node goes away, the control socket closes and the keeper ends the box.

Control socket (SEQPACKET, JSON): the node sends ``{"op": "stop", "grace_s": n}``; the keeper sends
``{"op": "begun"}``, ``{"op": "output", "text": …, "dropped": bytes}`` and at the end ``{"op": "exit", "code": …,
"signal": …}``. The worker says ``{"op": "working"}`` there, once, before any code of the user runs in it: the kernel
tells the node who said it.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from box_agent.worker import kernel, processes

_READ_BYTES: Final = 16 * 1024
_FLOOD_BYTES: Final = 256 * 1024
"""Of output a second that are passed on; the rest is dropped and counted."""
_REAP_S: Final = 0.002
_LAST_WORD_S: Final = 5.0
_BEGUN: Final = b'{"op": "begun"}'
_WORKING: Final = b'{"op": "working"}'


def keep(make: Callable[[], Keeper], workers: Sequence[int]) -> NoReturn:
    """Become the keeper that ``make`` makes. Called right after a `kernel.bare_fork`.

    ``workers`` are descriptors for the worker only, which the keeper must not hold open.
    """
    try:
        kernel.block_all_signals()
        os.setsid()
        kernel.adopt_orphans()
        made = make()
        for fd in workers:
            os.close(fd)
        made.run()
    finally:
        os._exit(0)


class Keeper:
    """One box, from the fork of its worker to the end of its last process.

    It is one for every box, so it is written to touch little of the memory that it shares with its template: a bare
    fork, no import, no handler of a signal.
    """

    def __init__(self, control: int, work: Callable[[int], None]) -> None:
        """``control``: descriptor of its socket. The worker runs ``work(descriptor for its output)``."""
        self._control = control
        self._ended = kernel.ends_of_children()
        self._output, output_write = os.pipe2(os.O_CLOEXEC)
        self._code: int | None = None
        self._kill_at: float | None = None
        self._second = 0
        self._passed = 0
        self._dropped = 0
        os.write(control, _BEGUN)
        keeper = os.getpid()
        self._worker = kernel.bare_fork()
        if self._worker == 0:
            try:
                self._become_worker(keeper, control)
                work(output_write)
            finally:
                os._exit(1)
        os.close(output_write)
        os.set_blocking(self._output, False)
        os.set_blocking(control, False)

    def _become_worker(self, keeper: int, control: int) -> None:
        kernel.after_fork()
        kernel.unblock_signals()
        os.setsid()
        kernel.die_with_parent(keeper)
        for fd in (self._ended, self._output):
            os.close(fd)
        os.write(control, _WORKING)
        os.close(control)

    def run(self) -> None:
        """Until every process of the box has ended."""
        poll = select.poll()
        for fd in (self._control, self._ended, self._output):
            poll.register(fd, select.POLLIN)
        while self._code is None:
            left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic()) * 1000
            ready = {fd for fd, _ in poll.poll(left)}
            if self._output in ready and not self._pass_output():
                poll.unregister(self._output)
            if self._control in ready:
                self._obey()
            if self._ended in ready:
                os.read(self._ended, 512)
                self._reap()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                break
        self._end_all()
        while self._pass_output():
            pass
        code = self._code if self._code is not None else 0
        number = os.WTERMSIG(code) if os.WIFSIGNALED(code) else None
        self._say({"op": "exit", "code": None if number else os.WEXITSTATUS(code), "signal": number})

    def _obey(self) -> None:
        data = os.read(self._control, 4096)
        if not data:  # the node is gone
            self._kill_at = 0.0
            return
        order = json.loads(data)
        if order["op"] == "stop":
            at = time.monotonic() + order["grace_s"]
            self._kill_at = at if self._kill_at is None else min(at, self._kill_at)

    def _reap(self) -> bool:
        """Collect what has ended; ``False`` when there are no children any more."""
        while True:
            try:
                pid, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._worker:
                self._code = code

    def _end_all(self) -> None:
        while self._reap():
            self._kill_rest()
            self._pass_output()  # a writer that blocks on a full pipe still dies, but its last words should be there
            time.sleep(_REAP_S)

    def _kill_rest(self) -> None:
        processes.kill_descendants(os.getpid())

    def _pass_output(self) -> bool:
        """Passes on what is there, within bounds; ``False`` when there is nothing."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._passed = second, 0
        self._passed += len(data)
        if self._passed > _FLOOD_BYTES or not self._say(
            {"op": "output", "text": data.decode(errors="replace"), "dropped": self._dropped}
        ):
            self._dropped += len(data)
        else:
            self._dropped = 0
        return True

    def _say(self, message: dict[str, Any]) -> bool:
        """Output never waits for the node; what is said only once does, a little."""
        data = json.dumps(message).encode()
        while True:
            try:
                os.write(self._control, data)
            except BlockingIOError:
                if message["op"] == "output" or not select.select([], [self._control], [], _LAST_WORD_S)[1]:
                    return False
            except OSError:
                return False  # the node is gone
            else:
                return True
