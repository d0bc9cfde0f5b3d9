"""Runs before a child: ask the kernel to kill it when the supervisor dies, then become it.

A supervisor that is killed with -9 cannot end its children; the kernel can (Linux). A ``preexec_fn`` would do the
same, but forking with threads around is what newer Pythons warn of. Costs about 15 ms. Standard library only: it is
run by path, isolated.

usage: python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT...
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
    os.execv(command[0], command)  # noqa: S606 - the program and its arguments are the supervisor's own


if __name__ == "__main__":
    main()
