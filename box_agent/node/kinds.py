"""What each name in `NodeSettings.drivers` stands for. A driver's code is imported when it is asked for, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from box_agent.driver import Driver
from box_agent.drivers.absent import absent
from box_agent.drivers.local.lending import Lending
from box_agent.node.config import DriverName, NodeSettings


def make(name: DriverName, home: Path, settings: NodeSettings, private: Sequence[Path] = ()) -> Driver:
    """The driver of that name, with ``home`` for its own; `Driver.probe` tells whether it works here.

    ``private``: directories of which nothing is for boxes.
    """
    variables, most, build = settings.variables(), settings.template_bytes, settings.build_bytes
    match name:
        case "local":
            from box_agent.drivers.local.driver import LocalDriver

            lending = _lending(settings, private)
            return LocalDriver(home, variables, template_bytes=most, lending=lending, build_bytes=build)
        case "sandlock":
            try:
                from box_agent.drivers.sandlock.driver import SandlockDriver
            except ModuleNotFoundError as error:
                return absent({"name": name, "isolation": "landlock", "branching": "fs"}, "sandlock", error)
            return SandlockDriver(home, variables, build_bytes=build)
        case "boxlite":
            from box_agent.drivers.boxlite.driver import BoxliteDriver

            return BoxliteDriver(home, variables, build_bytes=build)
        case "process":
            from box_agent.drivers.process.driver import ProcessDriver

            return ProcessDriver(home, variables, template_bytes=most)
        case "container":
            try:
                from box_agent.drivers.container.driver import ContainerDriver
            except ModuleNotFoundError as error:
                return absent({"name": name, "isolation": "container", "branching": "fs"}, "httpx", error)
            socket = settings.container_socket
            wanted = None if socket == Path() else socket.expanduser().absolute()
            lending = _lending(settings, private)
            return ContainerDriver(home, variables, socket=wanted, lending=lending, build_bytes=build)


def _lending(settings: NodeSettings, private: Sequence[Path]) -> Lending:
    secrets = () if settings.secrets == Path() else (settings.secrets,)
    return Lending([*secrets, *private], settings.mounts)
