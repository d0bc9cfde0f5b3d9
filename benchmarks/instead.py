"""What one would use instead of a box: the same imports in a plain process, bubblewrap, podman, sandlock.

Each is called as its manual says for running untrusted code without network. What is not on this machine, or does not
work on it, is not measured.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_CODE: Final = ("-c", "import nats, pydantic")
_LONGEST_S: Final = 60.0
_CGROUP2: Final = "umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup && exec "
"""podman takes no mixture of both cgroup versions; in a mount namespace of its own it is shown one of them."""


def ways() -> dict[str, Callable[[], float]]:
    """Name → what runs the imports once and returns the seconds until they were done."""
    python = (sys.executable, *_CODE)
    found: dict[str, Callable[[], float]] = {"subprocess": lambda: _timed(python)}
    if shutil.which("bwrap"):
        wall = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp")
        found["bwrap"] = lambda: _timed(("bwrap", *wall, "--unshare-all", "--die-with-parent", *python))
    if shutil.which("podman") and os.geteuid() == 0:
        limits = " ".join(f"--ulimit {name}=1024:1024" for name in ("nofile", "nproc"))
        run = f"podman run --rm --network none --cgroups=disabled {limits} --rootfs /:O "
        found["podman"] = lambda: _timed(
            ("unshare", "--mount", "sh", "-c", f'{_CGROUP2} {run} "$@"', "sh", *python)
        )  # fmt: skip
    if (sandlock := _sandlock()) is not None:
        found["sandlock"] = lambda: _in_sandlock(sandlock, python)
    return found


def _timed(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=_LONGEST_S)
    return time.perf_counter() - began


def _sandlock() -> Any:
    try:
        return importlib.import_module("sandlock")
    except ImportError:
        return None


def _in_sandlock(sandlock: Any, command: tuple[str, ...]) -> float:
    wanted = ("/usr", "/lib", "/lib64", "/etc", "/proc", "/dev", sys.prefix, sys.base_prefix)
    readable = [path for path in wanted if Path(path).exists()]
    box = sandlock.Sandbox(fs_readable=readable, max_memory="512M", max_processes=64)
    began = time.perf_counter()
    result = box.run(list(command))
    took = time.perf_counter() - began
    if not result.success:
        raise OSError(f"sandlock: {result}")
    return took
