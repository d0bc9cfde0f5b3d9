"""Settings of a node. Read from the environment in this file and nowhere else."""

from __future__ import annotations

import os
import re
import socket
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from box_agent.config import AgentSettings
from schemas.errors import InvalidInput, NotFound
from schemas.ids import check_name

_GIB = 1024**3
DriverName = Literal["local", "sandlock", "process", "container", "boxlite"]
INHERITED: Final = (
    "PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "LANG", "LANGUAGE", "LC_*", "TZ",
    "PIP_*", "*_proxy", "*_PROXY", "SSL_CERT_*",
)  # fmt: skip
"""Where programs are, how they speak, and how pip gets its packages."""


def _host() -> str:
    """This machine's name as a node's name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-_")
    return name[:40] or "node"


def usable_cpus() -> int:
    """Those this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class NodeSettings(BaseSettings):
    """Every field is an environment variable ``BOXHUB_NODE_<FIELD>``. Times are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="BOXHUB_NODE_", frozen=True, extra="ignore")

    name: str = Field(default_factory=_host)
    home: Path = Path()
    """Directory of the node's own files; default: ``node`` in the directory ``BOXHUB_HOME``."""
    labels: dict[str, str] = Field(default_factory=dict)
    max_boxes: int = Field(default=64, ge=1)
    max_attempts: int = Field(default_factory=lambda: max(2, usable_cpus()), ge=1)
    """Attempts of tasks it runs at once."""
    spawn_timeout_s: float = Field(default=60.0, gt=0)
    """Until the box of an attempt must be ready."""
    stop_grace_s: float = Field(default=2.0, ge=0)
    """A box that is stopped may go on so long before it is killed."""
    save_s: float = Field(default=60.0, gt=0)
    """Bringing the files of a stopped box back to its branch may take so long; five seconds while draining."""
    drain_s: float = Field(default=0.0, ge=0)
    """On SIGTERM running attempts may go on so long; then they end and are tried again elsewhere."""
    idle_s: float | None = Field(default=None, gt=0)
    """A box that nobody calls for so long is stopped, unless its definition says otherwise."""
    drivers: tuple[DriverName, ...] = Field(default=("local", "sandlock", "process"), min_length=1)
    """Those it offers, where they work. A box gets the first of them that satisfies what it demands."""
    container_socket: Path = Path()
    """Of the Docker or Podman that the ``container`` driver uses; default: the first that listens where they do."""
    inherit: tuple[str, ...] = INHERITED
    """Patterns of the variables of this process that boxes get; all else, secrets first, stays with the node."""
    secrets: Path = Path()
    """Directory with one file per secret, named as the secret; boxes get those their policy names, when they ask."""
    mounts: tuple[Path, ...] = (Path("/"),)
    """Directories below which boxes may be granted directories; secrets and the platform's own are refused anyway."""
    beat_s: float = Field(default=2.0, gt=0)
    template_bytes: int = Field(default_factory=lambda: memory_bytes() // 8, ge=0)
    """Memory of warm templates, for each driver; the least recently used go first. 0: no such limit."""
    build_bytes: int = Field(default=0, ge=0)
    """Disk that one step of a Box's environment may take while it is made. 0: half of what is free when it begins."""
    cache_bytes: int = Field(default=4 * _GIB, ge=0)
    """Blobs kept on this machine, the least recently used go first."""

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        try:
            return check_name(value, "node")
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    def variables(self) -> dict[str, str]:
        """What boxes inherit of this process's environment."""
        return {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("BOXHUB_") and any(fnmatchcase(name, pattern) for pattern in self.inherit)
        }

    def secret(self, name: str) -> str:
        """Its value now, without the line's end. Raises `NotFound`."""
        if self.secrets == Path():
            raise NotFound(f"secret {name!r}: this node has none; set BOXHUB_NODE_SECRETS to a directory of them")
        try:
            return (self.secrets.expanduser() / name).read_text().removesuffix("\n")
        except OSError as error:
            raise NotFound(f"secret {name!r}: node {self.name!r} cannot read it: {error.strerror}") from error

    def directory(self, agent: AgentSettings) -> Path:
        home = self.home if self.home != Path() else agent.home / "node"
        return home.expanduser().absolute()
