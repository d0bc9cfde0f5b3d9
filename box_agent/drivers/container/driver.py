"""`ContainerDriver`: live boxes in containers of Docker or Podman."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from box_agent.drivers.contained.driver import ContainedDriver
from box_agent.drivers.contained.world import Wanted
from box_agent.drivers.container import image
from box_agent.drivers.container.container import Container
from box_agent.drivers.container.engine import Engine
from box_agent.drivers.forking.driver import MAX_TEMPLATES
from box_agent.drivers.forking.limits import DEFAULT_PIDS, OPEN_FILES
from box_agent.drivers.local import rootfs, seccomp
from box_agent.drivers.local.identity import box_identity, hand_over
from box_agent.drivers.local.lending import Lending
from box_agent.drivers.local.seen import as_seen
from schemas.errors import DriverUnavailable
from schemas.node import DriverInfo

_LABEL: Final = "boxhub.home"
_IMAGE: Final = "boxhub.image"
_SCRATCH_BYTES: Final = 256 * 1024 * 1024
_LIMITS: Final = (
    ("core", resource.RLIMIT_CORE, 0),
    ("nofile", resource.RLIMIT_NOFILE, OPEN_FILES),
    ("nproc", resource.RLIMIT_NPROC, 16384),  # of all boxes together, which are one user; `PidsLimit` is of each
)
_MORE_PROCESSES: Final = 1024
"""Than the limit says are not possible at all; between the two the box is ended, and told why: some tenths of a second
of forking as fast as can be, so that the look at limits comes first and not a refusal that names none."""
_SOURCES: Final = Path(__file__).resolve().parents[3]
_BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]); from box_agent.drivers.contained.inside import main; main(sys.argv[2])"
)
_START_ONE: Final = (
    "install one and start it (systemctl start podman.socket, or: podman system service --time=0), or set "
    "BOXHUB_NODE_CONTAINER_SOCKET to the one there is"
)


def usual_sockets() -> list[Path]:
    """Where engines listen, the one that needs no root first."""
    return [
        Path(f"/run/user/{os.getuid()}/podman/podman.sock"),
        Path("/run/podman/podman.sock"),
        Path("/run/docker.sock"),
        Path("/var/run/docker.sock"),
    ]


class ContainerDriver(ContainedDriver):
    """Declares ``container``. ``socket``: of the engine; without one the first that there is in the usual places.

    ``lending``: which directories boxes may be granted; without it all that are nobody's secrets.
    """

    def __init__(
        self,
        home: Path,
        variables: Mapping[str, str],
        max_templates: int = MAX_TEMPLATES,
        *,
        socket: Path | None = None,
        lending: Lending | None = None,
        build_bytes: int = 0,
    ) -> None:
        super().__init__(home, variables, max_templates, build_bytes=build_bytes)
        self._lending = lending or Lending([home])
        found = [path for path in ([socket] if socket else usual_sockets()) if path.is_socket()]
        self._engine = Engine(found[0]) if found else None
        self._wanted = socket
        self._user = box_identity()
        self._label = f"{_LABEL}={hashlib.sha256(str(self._home).encode()).hexdigest()[:24]}"
        self._image = ""
        self._info = DriverInfo(
            name="container", isolation="container", branching="fs", available=False, reason="it was not tried yet",
            mounts=True,
        )  # fmt: skip

    @property
    def info(self) -> DriverInfo:
        return self._info

    async def probe(self) -> DriverInfo:
        reason = self._before_trying() or await self._try()
        self._info = self._info.model_copy(update={"available": not reason, "reason": reason})
        return self._info

    def _before_trying(self) -> str:
        if not seccomp.supported():
            return f"the system calls of {os.uname().machine} are not listed in box_agent.drivers.local.seccomp"
        if self._engine is None:
            where = self._wanted or ", ".join(map(str, usual_sockets()))
            return f"no engine of Docker or Podman listens at {where}; {_START_ONE}"
        return ""

    # --- worlds -------------------------------------------------------------------------------------------------------

    async def _open(self, wanted: Wanted) -> Container:
        engine = self._reachable()
        granted = await asyncio.to_thread(self._lending.granted, wanted.mounts) if wanted.mounts else {}
        await engine.pay()
        if not self._image:
            await self._make_image(engine)
        if wanted.workspace is not None and self._user:
            await asyncio.to_thread(hand_over, wanted.workspace, self._user)
        container = Container(engine, self._worlds_at, as_seen(wanted.environment), wanted.resources.memory_bytes)
        return await container.open(self._content(wanted, granted, container))

    def _reachable(self) -> Engine:
        if self._engine is None:
            raise DriverUnavailable(self._before_trying())
        return self._engine

    async def _make_image(self, engine: Engine) -> None:
        """Once for this machine; whoever makes it a second time at once makes the same."""
        content = image.archive(self._user)
        label = f"{_IMAGE}={image.digest(content)}"
        self._image = await engine.image(label) or await engine.import_image(content, label)

    def _content(self, wanted: Wanted, granted: Mapping[str, str], container: Container) -> dict[str, Any]:
        """What the engine is asked for; everything that is not granted is taken away."""
        resources = wanted.resources
        scratch = min(resources.disk_bytes or _SCRATCH_BYTES, _SCRATCH_BYTES)
        own = f"rw,exec,nosuid,nodev,size={scratch},mode=1777"
        host: dict[str, Any] = {
            "Mounts": [*(_mount(*each) for each in self._mounts(wanted, container)), *map(_grant, granted.items())],
            "Tmpfs": {"/tmp": own, rootfs.HOME: own},  # noqa: S108 - its own
            "NetworkMode": "host" if wanted.network else "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", "label=disable"],
            "PidsLimit": (resources.pids or DEFAULT_PIDS) + _MORE_PROCESSES,
            "Ulimits": _ulimits(),
        }
        if resources.memory_bytes is not None:
            host |= {"Memory": resources.memory_bytes, "MemorySwap": resources.memory_bytes}
        if resources.cpus is not None:
            host["NanoCpus"] = int(resources.cpus * 1e9)
        return {
            "Image": self._image,
            "Cmd": [sys.executable, "-I", "-c", _BOOT, str(_SOURCES), f"{image.LINK}/node", str(self._home)],
            "User": f"{self._user}:{self._user}",
            "Hostname": "box",
            "WorkingDir": "/",
            "Labels": dict([self._label.split("=", 1)]),
            "NetworkDisabled": not wanted.network,
            "HostConfig": host,
        }

    def _mounts(self, wanted: Wanted, container: Container) -> list[tuple[str, str, bool]]:
        """Source, target, and whether it may be written."""
        environment, seen = wanted.environment, container.seen
        found = [(path, path, False) for path in image.machine_files(network=wanted.network)]
        sources = (environment.directory, *environment.packages)
        targets = (seen.directory, *seen.packages)
        found += [(str(source), str(target), False) for source, target in zip(sources, targets, strict=True)]
        found += [(source, path, False) for path, source in environment.shown.items()]
        found.append((str(container.link), image.LINK, False))
        if wanted.workspace is not None:
            found.append((str(wanted.workspace.absolute()), rootfs.WORKSPACE, True))
        return found

    async def _close_engine(self) -> None:
        if self._engine is not None:
            await self._engine.pay()
            await self._engine.aclose()

    async def _sweep_worlds(self) -> None:
        if self._engine is None:
            return
        try:
            left = await self._engine.containers(self._label)
        except DriverUnavailable:
            return  # its containers have ended with their node; `probe` tells that nothing answers
        for container in left:
            await self._engine.remove(container)


def _ulimits() -> list[dict[str, Any]]:
    """Never more than this process may have: an engine that may not raise limits would refuse its own defaults."""
    found = []
    for name, number, value in _LIMITS:
        most = resource.getrlimit(number)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        found.append({"Name": name, "Soft": value, "Hard": value})
    return found


def _mount(source: str, target: str, writable: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": not writable}


def _grant(granted: tuple[str, str]) -> dict[str, Any]:
    """Without what is mounted in it: engines make the top of a tree of mounts read-only, and no more."""
    target, source = granted
    return {**_mount(source, target, writable=False), "BindOptions": {"NonRecursive": True}}
