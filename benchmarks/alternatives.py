"""What a user would pick instead of a live box: a program started anew, with less or more of a wall around it.

Each runs `PROGRAM`, which imports what a worker has and answers once. What this machine lacks is said, not guessed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

PROGRAM: Final = "import nats, pydantic; print(1 + 2)"
_PYTHON: Final = (sys.executable, "-c", PROGRAM)
_TRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Alternative:
    """``run`` takes as long as it takes until it has answered."""

    name: str
    said: str
    run: Callable[[], None]

    def seconds(self) -> float:
        began = time.perf_counter()
        self.run()
        return time.perf_counter() - began


def alternatives() -> Iterator[Alternative]:
    """Those that work on this machine; the others are named on standard error, with the reason."""
    for name, said, make in _KNOWN:
        try:
            run = make()
            run()
        except (OSError, subprocess.SubprocessError, _NotThere) as error:
            print(f"  {name}: not there: {_reason(error)}", file=sys.stderr)
        else:
            yield Alternative(name, said, run)


class _NotThere(Exception):
    """With what it takes."""


def _reason(error: Exception) -> str:
    output = getattr(error, "stderr", None)
    lines = output.decode(errors="replace").strip().splitlines() if isinstance(output, bytes) else []
    return lines[-1] if lines else str(error)


def _command(*command: str) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_TRY_S, stdin=subprocess.DEVNULL)
        if done.stdout.strip() != b"3":
            raise _NotThere(f"it answers {done.stdout!r}")

    return run


def _subprocess() -> Callable[[], None]:
    return _command(*_PYTHON)


def _bubblewrap() -> Callable[[], None]:
    wall = ("--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
    return _command(_there("bwrap", "bubblewrap"), *wall, "--tmpfs", "/tmp", *_PYTHON)


def _podman() -> Callable[[], None]:
    """A container over the machine's own files: an image would have to come from a registry."""
    options = ("--rm", "--network", "none", "--cgroups", "disabled", "--ulimit", "nofile=4096:4096")
    command = (_there("podman", "podman"), "run", *options, "--ulimit", "nproc=4096:4096", "--rootfs", "/:O", *_PYTHON)
    try:
        run = _command(*command)
        run()
    except subprocess.CalledProcessError:
        if os.geteuid() != 0:
            raise
        mounts = "mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"  # no hybrid cgroups
        return _command("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *command)
    return run


def _sandlock() -> Callable[[], None]:
    if importlib.util.find_spec("sandlock") is None:
        raise _NotThere("pip install sandlock")
    sandlock: Any = importlib.import_module("sandlock")

    def run() -> None:
        done = sandlock.Sandbox(fs_readable=["/"]).run(list(_PYTHON), timeout=_TRY_S)
        if not done.success:
            raise _NotThere(f"{done.error or done.reason}")

    return run


def _there(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise _NotThere(f"install the package {package}")
    return found


_KNOWN: Final = (
    ("subprocess", "a fresh interpreter, no wall", _subprocess),
    ("sandlock", "sandlock, Landlock and seccomp", _sandlock),
    ("bwrap", "bubblewrap, namespaces", _bubblewrap),
    ("podman", "podman run, a container", _podman),
)
