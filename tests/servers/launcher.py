"""Runs before a server: ask the kernel to kill it when the test process dies, then become the server.

Without this, a test run that is itself killed (a timeout, Ctrl-C twice, the OOM killer) would leave servers behind.
Only Linux can promise it; elsewhere this only replaces itself. A ``preexec_fn`` would do the same, but Python warns
of forking with threads around, and the suite turns warnings into errors.

usage: python launcher.py PARENT_PID PROGRAM ARGUMENT...
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
