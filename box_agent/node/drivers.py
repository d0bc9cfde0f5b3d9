"""The drivers of this machine, and which of them makes a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import structlog

from box_agent.driver import Driver
from box_agent.drivers.local.driver import LocalDriver
from box_agent.drivers.local.lending import Lending
from box_agent.drivers.process.driver import ProcessDriver
from box_agent.node.config import NodeSettings
from box_agent.node.home import NodeHome
from schemas.box import ISOLATION_ORDER, SpawnRequest
from schemas.errors import DriverUnavailable
from schemas.node import DriverInfo

_log = structlog.get_logger("boxhub.node")


class Drivers:
    """``async with Drivers(drivers)``: tried, swept of what an earlier process left, and closed in the end."""

    def __init__(self, drivers: Sequence[Driver]) -> None:
        self._drivers = drivers
        self._exits = AsyncExitStack()

    @classmethod
    def of_this_machine(cls, home: NodeHome, settings: NodeSettings, private: Sequence[Path] = ()) -> Self:
        """Those that ``settings`` offer, each in a directory of its own. ``private``: nothing of it is for boxes."""
        variables, most = settings.variables(), settings.template_bytes
        secrets = () if settings.secrets == Path() else (settings.secrets,)
        lending = Lending([home.directory, *secrets, *private], settings.mounts)
        kinds: dict[str, Callable[[Path], Driver]] = {
            "local": lambda own: LocalDriver(
                own, variables, template_bytes=most, lending=lending, build_bytes=settings.build_bytes
            ),
            "process": lambda own: ProcessDriver(own, variables, template_bytes=most),
        }
        return cls([kinds[name](home.templates / name) for name in settings.drivers])

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            for driver in self._drivers:
                exits.push_async_callback(driver.aclose)
                await driver.sweep()
                info = await driver.probe()
                if not info.available:
                    _log.warning("driver_unavailable", driver=info.name, reason=info.reason)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._exits.aclose()

    @property
    def infos(self) -> list[DriverInfo]:
        return [driver.info for driver in self._drivers]

    @property
    def usable(self) -> list[Driver]:
        return [driver for driver in self._drivers if driver.info.available]

    @property
    def templates(self) -> list[str]:
        """Fingerprints that are held warm."""
        return [template.fingerprint for driver in self._drivers for template in driver.templates]

    def choose(self, request: SpawnRequest) -> Driver:
        """The strongest isolation that there is for ``request``. Raises `DriverUnavailable` with every reason."""
        against = {driver.info.name: _against(request, driver.info) for driver in self._drivers}
        usable = [driver for driver in self._drivers if not against[driver.info.name]]
        if not usable:
            reasons = "; ".join(f"driver {name!r} {why}" for name, why in against.items())
            raise DriverUnavailable(f"box {request.id!r}: {reasons}", reasons=against)
        return max(usable, key=lambda driver: ISOLATION_ORDER.index(driver.info.isolation))


def _against(request: SpawnRequest, info: DriverInfo) -> str:
    """Why it cannot make the box, with the cure; empty when it can."""
    wanted = max(request.isolation, request.definition.policy.min_isolation, key=ISOLATION_ORDER.index)
    if request.driver and request.driver != info.name:
        return f"is not {request.driver!r}"
    if not info.available:
        return f"is not available: {info.reason}"
    if ISOLATION_ORDER.index(info.isolation) < ISOLATION_ORDER.index(wanted):
        return f"isolates by {info.isolation!r}, at least {wanted!r} is wanted"
    if request.definition.policy.network == "loopback" and not info.loopback:
        return "cannot forward ports of this machine's loopback into a box"
    if request.definition.policy.mounts and not info.mounts:
        return "cannot mount directories of this machine into a box"
    return ""
