"""`AbsentDriver`: stands for a driver whose packages are not installed, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from box_agent.driver import LayerState, Template
from schemas.box import BoxDefinition, CacheEntry, SpawnRequest, WarmState
from schemas.errors import DriverUnavailable
from schemas.node import DriverInfo

if TYPE_CHECKING:
    from box_agent.driver import Blobs, Handle, Surroundings


class AbsentDriver:
    """The port is `box_agent.driver.Driver`. Declares what the driver would; makes nothing."""

    def __init__(self, info: DriverInfo) -> None:
        """``info`` is not available, and tells the reason."""
        self._info = info

    @property
    def info(self) -> DriverInfo:
        return self._info

    async def probe(self) -> DriverInfo:
        return self._info

    @property
    def templates(self) -> Sequence[Template]:
        return []

    async def build_template(self, definition: BoxDefinition, blobs: Blobs) -> Template:
        self._refuse()

    async def spawn(
        self, template: Template, request: SpawnRequest, directory: Path, surroundings: Surroundings
    ) -> Handle:
        self._refuse()

    async def remove_template(self, fingerprint: str) -> bool:
        return False

    def warmth(self, definition: BoxDefinition | None = None) -> Sequence[WarmState]:
        return []

    def explain(self, definition: BoxDefinition) -> Sequence[LayerState]:
        return [LayerState(False) for _ in range(len(definition.steps) + 1)]

    def cached(self) -> Sequence[CacheEntry]:
        return []

    def prune(self, unused_s: float) -> Sequence[CacheEntry]:
        return []

    async def sweep(self) -> Sequence[str]:
        return []

    async def aclose(self) -> None:
        """There is nothing to end."""

    def _refuse(self) -> NoReturn:
        raise DriverUnavailable(f"driver {self._info.name!r}: {self._info.reason}")


def absent(info: Mapping[str, str], package: str, error: ModuleNotFoundError) -> AbsentDriver:
    """``package``: what to install. Raises ``error`` again when it is another module that is missing."""
    if (error.name or "").partition(".")[0] != package:
        raise error
    reason = f"the package {package} is not installed; pip install 'boxhub[{info['name']}]'"
    return AbsentDriver(DriverInfo.model_validate({**info, "available": False, "reason": reason}))
