"""Runs a command as an ordinary user: ``python -m tests.ordinary_user COMMAND…``, by root.

The interpreter may live where only root can go, such as below ``/root``. In a mount namespace of the command's own,
every directory on the way to it that others may not enter is covered by one that leads there and nowhere else.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from box_agent.drivers.local import mounts, namespaces, privileges, rootfs

USER = 4321
_CANNOT = 77


def become_user() -> None:
    """This process, for good. Files that root may read and others may not are out of reach, but for the interpreter."""
    namespaces.unshare(namespaces.MOUNT)
    mounts.make_private()
    sources = Path(__file__).parents[1]
    for path in (*map(Path, rootfs.readable()), sources):
        closed = [p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH]
        if closed:
            _lead_to(path, closed[0])
    os.umask(0o022)
    privileges.become(USER)


def _lead_to(path: Path, closed: Path) -> None:
    fd = mounts.take(str(path), 0)
    mounts.mount_tmpfs(str(closed), "mode=755")
    if path.is_dir() or os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112 - a link that is followed by the kernel
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    mounts.attach(fd, str(path))
    os.close(fd)


def pytest_as_user(paths: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A test run of its own, as that user, in the sources as they are. Skips where root is not allowed to do that."""
    with tempfile.TemporaryDirectory(prefix="boxhub-user-") as folder:
        os.chown(folder, USER, USER)
        environment = {
            **os.environ,
            "HOME": folder,
            "TMPDIR": folder,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/hypothesis",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
        run = subprocess.run(
            [sys.executable, "-m", "tests.ordinary_user", *command, *arguments, *paths],
            cwd=Path(__file__).parents[1],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode == _CANNOT:
        pytest.skip(run.stderr)
    return run


if __name__ == "__main__":
    try:
        become_user()
    except OSError as error:
        print(f"nobody can become an ordinary user here: {error}", file=sys.stderr)
        sys.exit(_CANNOT)
    os.execvp(sys.argv[1], sys.argv[1:])
