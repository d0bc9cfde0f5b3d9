"""A Box as it goes over the wire: the definition (a value with a fingerprint) and the record of a live one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

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


class _Step(Value):
    """Always says its kind, also in the short wire form that leaves defaults out."""

    kind: str

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}


class FilesStep(_Step):
    """Files put into the box's directory before anything runs: path → blob hash."""

    kind: Literal["files"] = "files"
    files: dict[str, str]


class PipStep(_Step):
    """Python packages, installed once into a cached layer."""

    kind: Literal["pip"] = "pip"
    packages: list[str]


class RunStep(_Step):
    """A shell command run in the box's directory when the environment is made."""

    kind: Literal["run"] = "run"
    command: str
    timeout_s: float = 600


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


class Policy(Value):
    """What a box may reach. Network is none unless granted."""

    network: Literal["none", "loopback", "full"] = "none"
    secrets: list[str] = Field(default_factory=list)
    min_isolation: Isolation = "none"


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
    code: str = ""  # blob hash of the pickled parts; "" for a Box without skills of its own
    parts: list[str] = Field(default_factory=list)  # names of the Boxes it was composed from, lowest first
    python: str = ""  # "3.11": the interpreter the code was pickled for
    fingerprint: str = ""


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
