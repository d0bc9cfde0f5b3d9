"""The driver port: how a node makes live boxes out of definitions. Adapters are in ``drivers/<name>/``.

A driver declares in its `DriverInfo` what it isolates and how it branches; nobody finds out by failure. The suite in
``tests/conformance/box`` runs against every driver and asks more of those that declare more.

Two promises the rest of the platform is built on:

- `Handle.stop` returns when *every* process of the box has ended. A cancel is proved by nothing else.
- Nothing outlives the process that holds the driver: when the node dies, however it dies, templates, workers and their
  children end within two seconds; `Driver.sweep` then removes what they left on the disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from schemas.box import BoxDefinition, CacheEntry, SpawnRequest, WarmState
from schemas.errors import ErrorInfo
from schemas.node import DriverInfo

HANDLE_VERSION = 1
"""Of the records drivers keep on disk; `Driver.sweep` ends boxes of records it cannot read any more."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a box ended. ``asked``: by `Handle.stop` or `Handle.cancel`, not by itself."""

    code: int | None = None
    signal: int | None = None
    asked: bool = False
    reason: str = ""
    error: ErrorInfo | None = None

    @property
    def text(self) -> str:
        if self.reason:
            return self.reason
        if self.signal is not None:
            return f"ended by signal {self.signal}"
        return f"ended with exit code {self.code}"


@dataclass(frozen=True, slots=True)
class Stats:
    """Of all processes of one box together."""

    processes: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """A definition made ready on this machine: environment built, code loaded, ``setup`` done."""

    fingerprint: str
    driver: str
    built_s: float
    notes: tuple[str, ...] = ()
    """What a user should know, such as why ``setup`` has to run again in every box."""
    prefix: str = ""
    """Fingerprint of the template it was forked from, which has the lower parts of a composed Box; empty: of none."""


@dataclass(frozen=True, slots=True)
class LayerState:
    """Whether a layer is here, and until when it may be used."""

    cached: bool
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One skill call. ``timeout_s`` is what is left of the caller's deadline."""

    id: str
    skill: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    caller: str = ""
    timeout_s: float | None = None
    branch: str = ""  # whose files are in the box's directory
    conversation: str = ""  # that its task belongs to
    task: str = ""  # it is an attempt of


class Blobs(Protocol):
    """Where a driver gets the bytes that a definition names."""

    async def path(self, digest: str) -> Path:
        """A local file with exactly these bytes. Raises `BlobNotFound`, `StoreUnavailable`."""
        ...


class Surroundings(Protocol):
    """What stands around the boxes of a node: where their requests, progress and output go."""

    async def request(self, box: str, call: str, verb: str, arguments: Mapping[str, Any]) -> Any:
        """A bus verb, as ``box``: ``send_message``, ``publish_event`` or ``call``; raises what the bus raises."""
        ...

    def emit(self, box: str, call: str, kind: str, data: Any) -> None:
        """``progress`` or ``log`` of a call, ``output`` of the box (``call`` is then empty). Must not block."""
        ...


class Handle(Protocol):
    """One live box. Every method may be called at any time, also after it ended."""

    @property
    def id(self) -> str: ...

    @property
    def pid(self) -> int:
        """Of the process that runs the skills, as this machine numbers it."""
        ...

    @property
    def directory(self) -> Path:
        """The box's working directory, as this machine names it."""
        ...

    @property
    def workspace(self) -> Path:
        """The same directory, as the box itself names it."""
        ...

    @property
    def laid(self) -> frozenset[str]:
        """Paths in ``directory`` that came from the definition's environment, not from a branch."""
        ...

    async def call(self, request: CallRequest) -> Any:
        """Run a skill; its JSON-able result.

        Raises what the skill raised (`SkillFailed` or an error of the platform), `InvalidArguments`, `SkillNotFound`,
        `DeadlineExceeded`, `Cancelled`, `Overloaded`, `BoxDied`. Whichever of them: the skill has ended by then.
        Cancelling the coroutine cancels the call as `cancel` does, without waiting for its end.
        """
        ...

    def stream(self, request: CallRequest, credit: int = 16) -> AsyncIterator[Any]:
        """The items of a streaming skill, at most ``credit`` of them ahead of the reader. Close it to end the skill."""
        ...

    async def cancel(self, call: str, grace_s: float = 2.0) -> bool:
        """End one call; ``False`` when it is not running here. Returns when it has ended.

        The skill is asked first (an exception is raised in it); when it has not ended after ``grace_s``, the box is
        killed with everything in it.
        """
        ...

    async def stop(self, grace_s: float = 2.0) -> Exit:
        """End the box; returns when every process of it has ended. Harmless twice, and after it ended by itself."""
        ...

    async def wait(self) -> Exit:
        """Until every process of the box has ended, for whatever reason."""
        ...

    async def stats(self) -> Stats: ...


class Driver(Protocol):
    """Makes templates and live boxes. One per node; an async context manager is its only lifetime."""

    @property
    def info(self) -> DriverInfo:
        """What it declares; whether it is available is known after `probe`."""
        ...

    async def probe(self) -> DriverInfo:
        """Find out by doing whether it works here, within seconds; the reason and the cure when it does not."""
        ...

    @property
    def templates(self) -> Sequence[Template]:
        """Those held warm, least recently used first."""
        ...

    async def build_template(self, definition: BoxDefinition, blobs: Blobs) -> Template:
        """Make the definition ready; the one there is when its fingerprint is known.

        A step or ``setup`` that fails raises `SkillFailed` with its output; what this machine cannot do raises
        `DriverUnavailable`. Several callers at once build it once. Cancelled, the build is undone.
        """
        ...

    async def spawn(
        self, template: Template, request: SpawnRequest, directory: Path, surroundings: Surroundings
    ) -> Handle:
        """A live box, ready for calls, with ``directory`` (there already) as its working directory.

        The environment's files are laid into it where nothing of that name is: a branch's files go over them. Raises
        `BoxDied` when it ends before it is ready, `DeadlineExceeded` after ``request.timeout_s``; nothing is left then.
        """
        ...

    async def remove_template(self, fingerprint: str) -> bool:
        """Let a template go, and those that are forks of it; live boxes go on. ``False`` when there is none."""
        ...

    def warmth(self, definition: BoxDefinition | None = None) -> Sequence[WarmState]:
        """Of the Box's prefixes and itself, lowest first; without one, of all templates, least recently used first.

        Measures their memory as it is now: called in a thread. Makes nothing.
        """
        ...

    def explain(self, definition: BoxDefinition) -> Sequence[LayerState]:
        """Of each step in order, and of the warm template at the end. Looks, and makes nothing."""
        ...

    def cached(self) -> Sequence[CacheEntry]:
        """The layers of environments it keeps. Walks their files for the sizes: called in a thread."""
        ...

    def prune(self, unused_s: float) -> Sequence[CacheEntry]:
        """Remove layers that nobody used for so long and nothing stands on, template or box; what was removed.

        Called in a thread, while anything else may go on.
        """
        ...

    async def sweep(self) -> Sequence[str]:
        """End and remove what an earlier holder of this home left, before anything else: ids of its boxes."""
        ...

    async def aclose(self) -> None:
        """Stop every box, let every template go; returns when no process is left."""
        ...
