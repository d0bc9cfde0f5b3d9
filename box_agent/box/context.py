"""What a skill may ask of the platform while it runs: a parameter annotated `Context` receives one.

The same class serves attached agents (in the user's process) and live boxes (inside the worker); each side
gives it a `ContextPort`. Nothing here does I/O itself.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Coroutine
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from schemas.errors import InvalidInput, PermissionDenied

if TYPE_CHECKING:
    from box_agent.context.conversations import ConversationClient
    from box_agent.context.keyvalues import KeyValueClient
    from box_agent.context.workspaces import WorkspaceClient


class ContextPort(Protocol):
    """What stands behind a `Context`: the bus of an attached agent, or the socket to the node of a live box."""

    def emit(self, kind: str, data: Any) -> None:
        """Best effort and never blocking: ``progress`` or ``log`` of the running call."""
        ...

    def cancelled(self) -> bool:
        """Somebody asked for this call to stop."""
        ...

    def request(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Run a bus verb as this box and block for its answer; raises what it raised."""
        ...

    async def request_async(self, verb: str, arguments: dict[str, Any]) -> Any:
        """`request` for coroutines."""
        ...


class ContextBus:
    """The bus as a sync skill sees it; every message is stamped with the box's own address.

    ``conversations``, ``workspaces`` and ``keyvalues`` are the hub's services, blocking.
    """

    def __init__(self, port: ContextPort, aio: AsyncContextBus) -> None:
        self._port = port
        self._aio = aio

    @property
    def conversations(self) -> Any:
        return _Waiting(self._aio.conversations)

    @property
    def workspaces(self) -> Any:
        return _Waiting(self._aio.workspaces)

    @property
    def keyvalues(self) -> Any:
        return _Waiting(self._aio.keyvalues)

    def send_message(self, to: str, data: Any = None, **attributes: Any) -> str:
        """Send to one box; returns the message id when it is stored."""
        return str(self._port.request("send_message", {"to": to, "data": data, **attributes}))

    def publish_event(self, name: str, data: Any = None, **attributes: Any) -> int:
        """Publish to whoever subscribed; returns the stream sequence when it is stored."""
        return int(self._port.request("publish_event", {"name": name, "data": data, **attributes}))

    def call(self, box: str, skill: str, *args: Any, timeout_s: float = 30.0, **kwargs: Any) -> Any:
        """Call a skill of another live box and wait for its result."""
        arguments = {"box": box, "skill": skill, "args": args, "kwargs": kwargs, "timeout_s": timeout_s}
        return self._port.request("call", arguments)


class AsyncContextBus:
    """`ContextBus` for async skills: the same verbs, awaited."""

    def __init__(self, port: ContextPort, branch: str = "") -> None:
        self._port = port
        self._branch = branch

    async def send_message(self, to: str, data: Any = None, **attributes: Any) -> str:
        return str(await self._port.request_async("send_message", {"to": to, "data": data, **attributes}))

    async def publish_event(self, name: str, data: Any = None, **attributes: Any) -> int:
        arguments = {"name": name, "data": data, **attributes}
        return int(await self._port.request_async("publish_event", arguments))

    async def call(self, box: str, skill: str, /, *args: Any, timeout_s: float = 30.0, **kwargs: Any) -> Any:
        arguments = {"box": box, "skill": skill, "args": args, "kwargs": kwargs, "timeout_s": timeout_s}
        return await self._port.request_async("call", arguments)

    def stream(
        self, box: str, skill: str, /, *args: Any, timeout_s: float = 300.0, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Raises `InvalidInput`: what streams, such as a watch, is for attached agents."""
        raise InvalidInput(f"{box}.{skill} streams, which a skill cannot follow; ask for a list, or use an agent")

    @cached_property
    def conversations(self) -> ConversationClient:
        """Append-only trees of turns, shared with other agents; as they are on the branch the call runs on."""
        from box_agent.context.conversations import ConversationClient
        from box_agent.context.hub import Hub

        return ConversationClient(Hub(self), self._branch)

    @cached_property
    def workspaces(self) -> WorkspaceClient:
        """Branchable file trees. The files of this box's own branch are in its directory."""
        from box_agent.context.hub import Hub
        from box_agent.context.workspaces import WorkspaceClient

        return WorkspaceClient(Hub(self))

    @cached_property
    def keyvalues(self) -> KeyValueClient:
        """Small JSON documents with a revision; those of the branch the call runs on, ``.on("")`` for the tenant's."""
        from box_agent.context.hub import Hub
        from box_agent.context.keyvalues import KeyValueClient

        return KeyValueClient(Hub(self), self._branch)


class _Waiting:
    """An async client whose coroutines are run to their end."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def wait(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if isinstance(result, type(self._client)):  # the same client of another branch
                return _Waiting(result)
            return asyncio.run(_completed(result)) if asyncio.iscoroutine(result) else result

        return wait


async def _completed(work: Coroutine[Any, Any, Any]) -> Any:
    return await work


class Context:
    """One running call. ``bus`` blocks and is for sync skills, ``aio`` has the same verbs to await."""

    def __init__(
        self,
        port: ContextPort,
        *,
        call: str = "",
        address: str = "",
        caller: str = "",
        skill: str = "",
        directory: Path | None = None,
        deadline_at: float | None = None,
        branch: str = "",
        conversation: str = "",
        task: str = "",
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self._port = port
        self.call = call
        self.address = address
        self.caller = caller
        self.skill = skill
        self.directory = directory if directory is not None else Path.cwd()
        self.deadline_at = deadline_at
        self.branch = branch
        """Whose files are in ``directory``; empty when they are nobody else's. ``bus.conversations`` and
        ``bus.keyvalues`` are this branch's, too: others see what is written there when it is committed."""
        self.conversation = conversation
        """Of the task, for ``bus.conversations``; empty when it belongs to none, or this is a call and no task."""
        self.task = task
        """The call is an attempt of this one; empty for a plain call."""
        self.secrets = secrets
        """Names of those the running skill was granted."""
        self.aio = AsyncContextBus(port, branch)
        self.bus = ContextBus(port, self.aio)

    @property
    def cancelled(self) -> bool:
        """True once somebody asked for this call to stop.

        A skill is told once: `CallCancelled` is raised in it (``asyncio.CancelledError`` in a coroutine) unless it saw
        this first. It may catch that and end in good order, and has a moment to; then its box is killed.
        """
        return self._port.cancelled()

    def secret(self, name: str) -> str:
        """The value of a secret that the running skill's own part was granted; it is the node's, and nowhere stored.

        Raises `PermissionDenied`, `NotFound` when the node has none of this name. Coroutines use `secret_async`.
        """
        return str(self._port.request("secret", {"name": self._grant(name)}))

    async def secret_async(self, name: str) -> str:
        return str(await self._port.request_async("secret", {"name": self._grant(name)}))

    def granted(self, secrets: frozenset[str]) -> Context:
        """The same call with the grants of another part, for that part's skill."""
        made = copy.copy(self)
        made.secrets = secrets
        return made

    def _grant(self, name: str) -> str:
        if name not in self.secrets:
            raise PermissionDenied(
                f"skill {self.skill!r} has no grant for secret {name!r}: give its part one with "
                f".allow(secrets=[{name!r}])",
                secret=name,
            )
        return name

    def progress(self, fraction: float | None = None, note: str = "") -> None:
        """Say how far the call is (0..1, or ``None`` when that is not known). Never blocks, may be dropped."""
        if fraction is not None:
            fraction = min(1.0, max(0.0, float(fraction)))
        self._port.emit("progress", {"fraction": fraction, "note": note})

    def log(self, text: str) -> None:
        """A line for whoever watches this call. Never blocks, may be dropped when the call floods."""
        self._port.emit("log", {"text": text})
