"""Whether the local driver works on this machine: found out by doing, and said with the reason and the cure."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from box_agent.drivers.local import rootfs, seccomp

_SWITCHES = {
    "/proc/sys/user/max_user_namespaces": ("0", "user namespaces are switched off: set {path} above 0"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "only root may make user namespaces: set {path} to 1"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor keeps programs without a profile from user namespaces: set {path} to 0, or give the interpreter one",
    ),
}
"""Where kernels and distributions forbid what this needs, the value by which they do, and what to say."""


def before_trying() -> str:
    """What rules it out without trying; empty when nothing does."""
    if sys.platform != "linux":
        return "the local driver needs Linux namespaces"
    if not seccomp.supported():
        return f"the system calls of {platform.machine()} are not listed in box_agent.drivers.local.seccomp"
    taken = [rootfs.WORKSPACE, rootfs.OWN, rootfs.HOME, rootfs.ENVIRONMENT, rootfs.PACKAGES]
    for path in rootfs.readable():
        if any(Path(path).is_relative_to(t) for t in taken):
            return f"the interpreter needs {path}, where boxes have something of their own; install it elsewhere"
    return ""


def explain(error: BaseException) -> str:
    """Why the trial failed, and what would help."""
    cures = []
    for path, (forbidding, cure) in _SWITCHES.items():
        try:
            value = Path(path).read_text().strip()
        except OSError:
            continue
        if value == forbidding:
            cures.append(cure.format(path=path))
    if not cures:
        cures.append(
            "it needs Linux 5.12, user namespaces, and in a container the permission to mount and unshare "
            "(Docker: --security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
        )
    return f"a trial box failed: {error}; {'; '.join(cures)}"


class Unheard:
    """`box_agent.driver.Surroundings` of a box that has nothing to say."""

    async def request(self, box: str, call: str, verb: str, arguments: Mapping[str, Any]) -> Any:
        raise NotImplementedError(verb)

    def emit(self, box: str, call: str, kind: str, data: Any) -> None:
        """Nobody listens."""


class NoBlobs:
    """`box_agent.driver.Blobs` of a definition that names none."""

    async def path(self, digest: str) -> Path:
        raise NotImplementedError(digest)
