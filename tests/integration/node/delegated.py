"""A program in a group of version 2 of its own: ``python -m tests.integration.node.delegated GROUP CONTROLLER``.

It says as JSON what it could make of the group. The controller is whichever this machine has there: none of memory,
pids and cpu may be.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from box_agent.drivers.local import cgroups, delegation
from schemas.box import Resources


def main(group: Path, controller: str) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
    place, enabled = delegation.enabled(group, [controller])
    said: dict[str, object] = {
        "place": str(place),
        "enabled": enabled,
        "inside": (group / "cgroup.procs").read_text().split(),
    }
    if enabled:
        own = group / delegation.LEAF
        said["again"] = [str(found) for found in delegation.enabled(own, [controller])[:1]]
        said |= box_in_a_group(group, controller)
    print(json.dumps(said))


def box_in_a_group(group: Path, controller: str) -> dict[str, object]:
    """A process enters a group made for it, and is ended with it."""
    made = cgroups.Cgroups(group)
    made._places = {controller: group}
    cgroups._settings = lambda resources: {controller: {1: {}, 2: {}}}
    (fd,) = made.make("box", Resources())
    pid = os.fork()
    if pid == 0:
        os.write(fd, b"0")
        os.kill(os.getpid(), 19)  # stands still, until it is killed
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    (child,) = group.glob("boxhub-*-box")
    entered = (child / "cgroup.procs").read_text().split() == [str(pid)]
    limited = any(path.name.startswith(controller) for path in child.iterdir())
    made.sweep()
    _, status = os.waitpid(pid, 0)
    return {"entered": entered, "limited": limited, "killed": os.WTERMSIG(status), "left": child.exists()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
