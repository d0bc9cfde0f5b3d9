"""A Box as it goes over the wire: the definition (a value with a fingerprint) and the record of a live one."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.model import Model, Value

Isolation = Literal["none", "landlock", "namespace", "container", "vm"]
"""From weakest to strongest, in this order; `ISOLATION_ORDER` ranks them."""
Branching = Literal["replay", "fs", "live"]

ISOLATION_ORDER: tuple[Isolation, ...] = ("none", "landlock", "namespace", "container", "vm")


class SkillSpec(Value):
    """One typed function of a Box. The schemas are JSON Schema (2020-12) made from its type hints."""

    name: str
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    output_schema: dict[str, Any] | None = None
    streaming: bool = False
    timeout_s: float | None = None
    effect: Literal["none", "external"] = "none"
    atomic: bool = False
    part: str = ""  # of the Box it came with
    secrets: list[str] = Field(default_factory=list)  # granted to that part, so to this skill


IMPURE_S: Final = 86_400.0
"""A cached layer whose step may come out differently next time is used for so long, unless the step says otherwise."""
_PINNED: Final = re.compile(r"[A-Za-z0-9._-]+(\[[^\]]*\])?\s*===?\s*[^*;,\s]+\s*(;.*)?")


class _Step(Value):
    """Always says its kind, also in the short wire form that leaves defaults out."""

    kind: str

    @property
    def impure(self) -> str:
        """Why running it again may give something else; empty when it is pinned by what the definition says."""
        return ""

    @property
    def lasts_s(self) -> float | None:
        """How long a cached layer of it may be used; ``None``: for ever."""
        return None

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}


class FilesStep(_Step):
    """Files put into the box's directory before anything runs: path → blob hash."""

    kind: Literal["files"] = "files"
    files: dict[str, str]


class PipStep(_Step):
    """Python packages, installed once into a cached layer: requirements, and wheels that come along as blobs."""

    kind: Literal["pip"] = "pip"
    packages: list[str] = Field(default_factory=list)
    wheels: dict[str, str] = Field(default_factory=dict)  # file name → blob hash
    expires_s: float | None = Field(default=None, gt=0)

    @property
    def impure(self) -> str:
        loose = [package for package in self.packages if not _PINNED.fullmatch(package.strip())]
        return f"{', '.join(loose)}: no version is pinned" if loose else ""

    @property
    def lasts_s(self) -> float | None:
        return (self.expires_s or IMPURE_S) if self.impure else self.expires_s


class RunStep(_Step):
    """A shell command run in the box's directory when the environment is made."""

    kind: Literal["run"] = "run"
    command: str
    timeout_s: float = 600
    network: bool = False  # it fetches something, which may have changed since
    expires_s: float | None = Field(default=None, gt=0)

    @property
    def impure(self) -> str:
        return "it fetches from the network" if self.network else ""

    @property
    def lasts_s(self) -> float | None:
        return (self.expires_s or IMPURE_S) if self.impure else self.expires_s


Step = Annotated[FilesStep | PipStep | RunStep, Field(discriminator="kind")]


class Resources(Value):
    """Limits of one live box; ``None`` leaves it to the node."""

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None
    disk_bytes: int | None = None
    wall_s: float | None = None
    idle_s: float | None = None
    concurrency: int | None = None  # async skills that run at once; sync ones run one after the other


class Mount(Value):
    """A directory of the node's machine that a box sees, read-only. Both are absolute paths."""

    source: str
    target: str

    @model_validator(mode="after")
    def _absolute(self) -> Self:
        for path in (self.source, self.target):
            if not path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise ValueError(f"{path!r} is no absolute path without '..'")
        return self


class Policy(Value):
    """What a box may reach. Network is none unless granted."""

    network: Literal["none", "loopback", "full"] = "none"
    ports: list[int] = Field(default_factory=list, max_length=32)  # of the node's loopback, that ``loopback`` forwards
    mounts: list[Mount] = Field(default_factory=list, max_length=8)
    secrets: list[str] = Field(default_factory=list)  # by name; values are the node's
    min_isolation: Isolation = "none"

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.ports and self.network != "loopback":
            raise ValueError(f"ports are forwarded with network='loopback', not {self.network!r}")
        if wrong := [port for port in self.ports if not 0 < port < 65536]:
            raise ValueError(f"{wrong[0]} is no port")
        if odd := [name for name in self.secrets if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name)]:
            raise ValueError(f"{odd[0]!r} is no name of a secret: use 1-100 letters, digits, '_', '-' and '.'")
        return self


class Prefix(Value):
    """The lower parts of a composed Box: a Box by itself, whose warm template the next one is forked from."""

    fingerprint: str  # the one that these parts have as a Box of their own
    parts: list[str] = Field(default_factory=list)
    steps: int = 0  # so many of the definition's are theirs: the first
    env: dict[str, str] = Field(default_factory=dict)
    code: str = ""  # blob hash of what it adds to the prefix before it


MAX_PREFIXES: Final = 12
"""Each is a process, and on the way to a box a level of namespaces, of which the kernel allows 32."""


class BoxDefinition(Value):
    """A Box: environment steps, skills, limits. ``fingerprint`` covers all but name, description and version."""

    name: str
    version: str = "0"
    description: str = ""
    steps: list[Step] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    skills: list[SkillSpec] = Field(default_factory=list)
    resources: Resources = Field(default_factory=Resources)
    policy: Policy = Field(default_factory=Policy)
    code: str = ""  # blob hash of the pickled parts above the last prefix; "" where nothing is to be loaded
    prefixes: list[Prefix] = Field(default_factory=list, max_length=MAX_PREFIXES)  # lowest first
    together: list[str] = Field(default_factory=list)  # why parts that one might expect there are not
    parts: list[str] = Field(default_factory=list)  # names of the Boxes it was composed from, lowest first
    python: str = ""  # "3.11": the interpreter the code was pickled for
    fingerprint: str = ""


def codes_of(definition: BoxDefinition) -> list[str]:
    """Hashes of the code of all its parts, in the order in which it is to be loaded."""
    return [code for code in (*(prefix.code for prefix in definition.prefixes), definition.code) if code]


def blobs_of(definition: BoxDefinition) -> list[str]:
    """Hashes of everything that must be stored before it can be made."""
    needed = codes_of(definition)
    for step in definition.steps:
        if isinstance(step, FilesStep):
            needed.extend(step.files.values())
        elif isinstance(step, PipStep):
            needed.extend(step.wheels.values())
    return needed


class Layer(Value):
    """One layer of a Box, lowest first: an environment step, or the warm template on top of them."""

    kind: Literal["files", "pip", "run", "template"]
    what: str  # for people
    part: str = ""  # the lowest one that has it
    fingerprint: str = ""  # of this layer and everything below it
    impure: str = ""  # why it may come out differently when it is made again
    cached: bool | None = None  # ``None``: nobody was asked
    expires_at: float | None = None


class WarmState(Value):
    """A template that a Box stands on, or its own: a process in which its parts are loaded and set up."""

    fingerprint: str
    parts: list[str] = Field(default_factory=list)
    prefix: str = ""  # fingerprint of the template it is a fork of; empty: of none that has a Box's code
    warm: bool = False
    built_s: float = 0.0
    memory_bytes: int = 0  # of the process now; pages that it shares are counted in parts
    used_at: float = 0.0
    why: str = ""  # it is not warm


class Explanation(Value):
    """What a Box is made of and, where a node was asked, what of it is there already."""

    name: str
    fingerprint: str
    platform: str = ""
    parts: list[str] = Field(default_factory=list)
    layers: list[Layer] = Field(default_factory=list)
    node: str = ""  # that was asked what it has cached; empty: none was
    templates: list[WarmState] = Field(default_factory=list)  # where a node was asked: its prefixes', then its own
    notes: list[str] = Field(default_factory=list)

    def asked(self, there: Explanation) -> Explanation:
        """With what a node said of the same Box: what is cached, and its notes."""
        layers = [
            layer.model_copy(update={"cached": said.cached, "expires_at": said.expires_at})
            for layer, said in zip(self.layers, there.layers, strict=True)
        ]
        notes = [*self.notes, *(note for note in there.notes if note not in self.notes)]
        return self.model_copy(
            update={"layers": layers, "node": there.node, "templates": there.templates, "notes": notes}
        )

    def __str__(self) -> str:
        head = f"{self.name}  {self.fingerprint[:12]}  {self.platform}  parts: {', '.join(self.parts) or 'none'}"
        asked = f"node {self.node}" if self.node else "no node was asked what it has cached"
        rows = [
            f"  {row.fingerprint[:12]:12}  {row.kind:8}  {_cached(row):7}  {row.what}"
            + (f"  [impure: {row.impure}]" if row.impure else "")
            for row in self.layers
        ]
        tree = [f"  {row.fingerprint[:12]:12}  {' + '.join(row.parts)}: {warmth(row)}" for row in self.templates]
        return "\n".join(
            [
                *(head, f"layers, lowest first ({asked}):", *rows),
                *(["templates, each a fork of the one before:", *tree] if tree else []),
                *(f"note: {note}" for note in self.notes),
            ]
        )


def warmth(state: WarmState) -> str:
    """For people, without the time of its last use."""
    if not state.warm:
        return f"not warm: {state.why}" if state.why else "not warm"
    return f"warm, {state.memory_bytes / 2**20:.1f} MiB" + ("" if state.prefix else ", stands on no other")


def _cached(layer: Layer) -> str:
    return "" if layer.cached is None else "cached" if layer.cached else "to make"


class CacheEntry(Value):
    """Something a node keeps so that the next box starts sooner."""

    kind: Literal["template", "packages", "files", "blobs"]
    id: str
    what: str = ""
    driver: str = ""
    node: str = ""
    size_bytes: int = 0
    used_at: float = 0.0
    expires_at: float | None = None
    in_use: bool = False  # a warm template or a live box stands on it: pruning leaves it
    prefix: str = ""  # of a template: the id of the one it is a fork of


LiveState = Literal["starting", "ready", "stopping", "stopped", "failed"]


class LiveBox(Model):
    """A running instance, or an attached agent: what the registry knows of one address."""

    id: str  # its address on the bus
    kind: Literal["live", "attached", "system"] = "attached"
    box: str = ""  # name of the definition
    fingerprint: str = ""
    instance: str = ""  # changes with every start of the process behind the address
    state: LiveState = "ready"
    node: str = ""
    driver: str = ""
    isolation: Isolation = "none"
    branching: Branching = "replay"
    reaches: str = ""  # beyond its own files, for people: network, ports, directories of its node's machine
    branch: str = ""  # the branch whose files are mounted
    owner: str = ""  # address that spawned it; when the owner is gone, so is the box
    skills: list[SkillSpec] = Field(default_factory=list)
    description: str = ""
    calls: int = 0  # running now
    max_attempts: int = 0  # task attempts it takes at once; 0: it does not say
    started_at: float = 0.0
    heartbeat_at: float = 0.0
    pid: int = 0
    reason: str = ""  # why it failed or stopped


class SpawnRequest(Value):
    """What it takes to make a live box."""

    id: str = ""  # address; made up from the name when empty. The same id twice is the same box
    definition: BoxDefinition
    branch: str = ""  # mount this branch's files at the box's working directory
    owner: str = ""
    isolation: Isolation = "none"  # at least
    driver: str = ""  # this one, or the best there is
    node: str = ""
    timeout_s: float = 60.0
