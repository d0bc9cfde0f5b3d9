"""What a skill may ask of the platform while it runs: a parameter annotated `Context` receives one.

The same class serves attached agents (in the user's process) and live boxes (inside the worker); each side
gives it a `ContextPort`. Nothing here does I/O itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


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
    """The bus as a sync skill sees it; every message is stamped with the box's own address."""

    def __init__(self, port: ContextPort) -> None:
        self._port = port

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

    def __init__(self, port: ContextPort) -> None:
        self._port = port

    async def send_message(self, to: str, data: Any = None, **attributes: Any) -> str:
        return str(await self._port.request_async("send_message", {"to": to, "data": data, **attributes}))

    async def publish_event(self, name: str, data: Any = None, **attributes: Any) -> int:
        arguments = {"name": name, "data": data, **attributes}
        return int(await self._port.request_async("publish_event", arguments))

    async def call(self, box: str, skill: str, *args: Any, timeout_s: float = 30.0, **kwargs: Any) -> Any:
        arguments = {"box": box, "skill": skill, "args": args, "kwargs": kwargs, "timeout_s": timeout_s}
        return await self._port.request_async("call", arguments)


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
    ) -> None:
        self._port = port
        self.call = call
        self.address = address
        self.caller = caller
        self.skill = skill
        self.directory = directory if directory is not None else Path.cwd()
        self.deadline_at = deadline_at
        self.branch = branch
        self.bus = ContextBus(port)
        self.aio = AsyncContextBus(port)

    @property
    def cancelled(self) -> bool:
        """True once somebody asked for this call to stop; a skill that checks it can end in good order."""
        return self._port.cancelled()

    def progress(self, fraction: float | None = None, note: str = "") -> None:
        """Say how far the call is (0..1, or ``None`` when that is not known). Never blocks, may be dropped."""
        if fraction is not None:
            fraction = min(1.0, max(0.0, float(fraction)))
        self._port.emit("progress", {"fraction": fraction, "note": note})

    def log(self, text: str) -> None:
        """A line for whoever watches this call. Never blocks, may be dropped when the call floods."""
        self._port.emit("log", {"text": text})
