"""A world: what stands around one box, and ends with everything that is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.templates import TemplateProcess
from schemas.box import Mount, Policy, Resources
from schemas.errors import LimitExceeded


@dataclass(frozen=True)
class Wanted:
    """What a world is made for. ``workspace`` is the box's directory; a world without one only tries the code."""

    environment: Environment
    policy: Policy = field(default_factory=Policy)
    resources: Resources = field(default_factory=Resources)
    workspace: Path | None = None

    @property
    def network(self) -> bool:
        return self.policy.network == "full"

    @property
    def mounts(self) -> Sequence[Mount]:
        return self.policy.mounts


class World(Protocol):
    """One, open. Its first process takes orders and has loaded nothing yet."""

    @property
    def template(self) -> TemplateProcess: ...

    @property
    def seen(self) -> Environment:
        """The environment with the paths and variables that there are for it inside."""
        ...

    @property
    def workspace(self) -> Path:
        """The box's directory, as it is named inside."""
        ...

    @property
    def variables(self) -> Mapping[str, str]:
        """Of the box's own: where its home and its temporary files are."""
        ...

    def exceeded(self) -> LimitExceeded | None:
        """Which limit the kernel ended something in it for, asked before it is closed. Blocking."""
        ...

    async def aclose(self) -> None:
        """Returns when nothing of it is left: no process, mount or directory. Harmless twice."""
        ...
