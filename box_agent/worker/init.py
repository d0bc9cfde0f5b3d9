"""The first process of a pid namespace: it collects what ends, and is the end of everything when the node is gone."""

from __future__ import annotations

import os
import select
import signal
from typing import NoReturn


class Init:
    """Made before anything is forked, so that the end of no child is missed."""

    def __init__(self) -> None:
        self._wake, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def leave(self) -> None:
        """In a child, right after the fork."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self._wake, self._wake_write):
            os.close(fd)

    def run(self, lifeline: int, *, alone: bool = False) -> NoReturn:
        """Until the far end of ``lifeline`` is closed, or no child is left unless it shall stay ``alone``.

        Then the kernel kills all that is left.
        """
        poll = select.poll()
        poll.register(lifeline, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if lifeline in ready:
                self.end()
            os.read(self._wake, 512)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                if not alone:
                    os._exit(0)

    def end(self) -> NoReturn:
        """The node is gone."""
        os._exit(0)
