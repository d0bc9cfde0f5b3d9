"""Tasks: durable delegations, run in numbered attempts. States, parts and artifacts are A2A 1.0's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.box import Isolation
from schemas.errors import ErrorInfo
from schemas.model import Model, Value
from schemas.part import Artifact, Message

TaskState = Literal[
    "submitted", "working", "input_required", "auth_required", "completed", "failed", "canceled", "rejected"
]
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "canceled", "rejected"})


class Retry(Value):
    """How often and how fast to try again. Delay of attempt n+1: ``initial_s * factor**(n-1)``, capped, ± jitter."""

    max_attempts: int = Field(default=3, ge=1)
    initial_s: float = Field(default=0.5, ge=0)
    factor: float = Field(default=2.0, ge=1)
    max_s: float = Field(default=30.0, ge=0)
    jitter: float = Field(default=0.2, ge=0, le=1)


class Timeouts(Value):
    """Seconds; ``None`` is no limit. A timeout ends the process that runs the attempt."""

    queue_s: float | None = None  # waiting for a place
    start_s: float | None = 60.0  # from assignment until the attempt runs
    attempt_s: float | None = None  # one attempt
    total_s: float | None = None  # the whole task, retries and waiting included


class FailureRule(Value):
    """One line of the failure policy: the first rule whose ``match`` fits decides.

    ``match`` holds error codes (`schemas.errors`; a code fits its more special ones too, so ``unavailable`` fits
    ``overloaded``) or exception type names of the skill; ``"*"`` fits all. What no rule of the task matches is
    retried, except what says that it can never work (bad input, nothing there, not allowed, a conflict).
    """

    match: list[str] = Field(default_factory=lambda: ["*"])
    action: Literal["retry", "fail"] = "retry"


class TaskSpec(Value):
    """What to do. ``id`` is the client's: the same id and content again is the same task.

    ``box`` is an address (attached agent or live box) or the name of a registered Box; for the latter each
    attempt runs in a fresh live box, on ``branch`` if one is given.
    """

    id: str = ""
    box: str
    skill: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    message: Message | None = None  # when it came in over A2A
    branch: str = ""
    priority: int = 0  # higher first
    parent: str = ""
    context: str = ""  # A2A context id: groups tasks of one conversation
    conversation: str = ""
    isolation: Isolation = "none"
    retry: Retry = Field(default_factory=Retry)
    on_failure: list[FailureRule] = Field(default_factory=list)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    metadata: dict[str, Any] = Field(default_factory=dict)


class Attempt(Model):
    """One try. ``number`` is the fencing number: writes that carry an older one are refused.

    ``refused``: the runner said that it would not start it, so nothing ran and the retry budget is untouched.
    ``stopping``: the hub asked the runner to end it, and why (a timeout); it still runs until it is proved stopped.
    """

    number: int
    runner: str  # address that holds the lease: an attached agent or a node
    instance: str = ""
    state: Literal["assigned", "running", "ended", "lost", "refused"] = "assigned"
    box: str = ""  # the live box it runs in
    assigned_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    lease_expires_at: float = 0.0
    stopping: ErrorInfo | None = None
    error: ErrorInfo | None = None

    @property
    def live(self) -> bool:
        """It holds the lease: it may be running."""
        return self.state in ("assigned", "running")


CancelProof = Literal["", "not_running", "stopped", "runner_gone", "runner_denies"]


class Cancellation(Model):
    """Cancel is proved: *stopped* is set only when the process (or coroutine) that ran the attempt has ended.

    ``proof`` says how that is known: ``not_running`` (no attempt was live when it was asked for), ``stopped`` (the
    runner reported the end), ``runner_gone`` (the lease ran out and the runner is gone), ``runner_denies`` (the
    lease ran out and the runner, alive, says that it does not have it). ``acknowledged_at`` is set whenever the
    proof is ``stopped``; without a runner that answered it stays ``None``.
    """

    requested_at: float
    by: str = ""
    reason: str = ""
    acknowledged_at: float | None = None
    stopped_at: float | None = None
    proof: CancelProof = ""


class TaskRecord(Model):
    """The truth about a task, as stored; changes by compare-and-set only, terminal states never."""

    id: str
    tenant: str
    spec: TaskSpec
    digest: str = ""  # of the spec: tells the same submission from another one under the same id
    submitter: str = ""
    state: TaskState = "submitted"
    created_at: float = 0.0
    updated_at: float = 0.0
    queued_at: float = 0.0  # since when it waits for a place
    not_before: float = 0.0  # a retry waits until then
    attempts: list[Attempt] = Field(default_factory=list)
    cancel: Cancellation | None = None
    result: Any = None
    artifacts: list[Artifact] = Field(default_factory=list)
    error: ErrorInfo | None = None
    updates: int = 0  # number of the latest update
    pending: str = ""  # why it does not run yet

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def live_attempt(self) -> Attempt | None:
        """The attempt that holds the lease; there is never more than one, and it is the newest."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].live else None


class TaskUpdate(Value):
    """One numbered thing that happened to a task; numbers have no holes.

    ``gap`` says: updates ``number`` .. ``data["until"]`` are no longer kept; read the task itself.
    """

    task: str
    number: int
    at: float
    kind: Literal["state", "progress", "log", "artifact", "gap"]
    state: TaskState | None = None
    attempt: int = 0
    data: Any = None


class Report(Value):
    """What a runner says of an attempt; applied once per (task, attempt, sequence)."""

    task: str
    attempt: int
    sequence: int
    kind: Literal["started", "progress", "log", "artifact", "completed", "failed", "stopped"]
    box: str = ""
    data: Any = None
    error: ErrorInfo | None = None
    at: float = 0.0


class Assignment(Value):
    """The hub gives an attempt to a runner."""

    task: str
    tenant: str
    attempt: int
    lease_s: float
    spec: TaskSpec
    definition: dict[str, Any] | None = None  # a BoxDefinition when a fresh live box is to be made
    head: str = ""  # of the spec's branch, when the hub knows it already
    deadline_at: float | None = None
