"""`ForkedHandle`: one live box that was forked from a template."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from box_agent.driver import CallRequest, Exit, Stats
from box_agent.drivers.forking.keeping import KeeperControl
from box_agent.drivers.forking.link import PendingCall, WorkerLink
from box_agent.worker import processes
from schemas.errors import (
    BoxDied,
    BoxhubError,
    Cancelled,
    DeadlineExceeded,
    LimitExceeded,
    Overloaded,
    Unavailable,
    error_from_info,
)

if TYPE_CHECKING:
    import socket

    from box_agent.bus.scope import Scope
    from box_agent.driver import Surroundings
    from box_agent.drivers.forking.templates import Pidfd
    from box_agent.worker.frames import Frame
    from schemas.box import Resources

GRACE_S: Final = 2.0
_FORCE_S: Final = 2.0
"""A keeper that has not done its work so long after the grace is stuck, and is killed with all below it."""
_REQUESTS: Final = 64
"""Bus verbs of one box that are under way at once; the next is refused."""


@dataclass(frozen=True, slots=True)
class Around:
    """What a handle needs of its driver.

    ``settle(box, orphaned)`` ends what a keeper that died left, if it did; it may know why the box had to end.
    """

    surroundings: Surroundings
    scope: Scope
    settle: Callable[[str, bool], Awaitable[BoxhubError | None]]


class ForkedHandle:
    """Made by the driver once keeper and worker were forked; `start` waits until the worker takes calls."""

    def __init__(
        self,
        box: str,
        directory: Path,
        workspace: Path,
        laid: frozenset[str],
        keeper: Pidfd,
        sockets: tuple[socket.socket, socket.socket],
        resources: Resources,
        around: Around,
    ) -> None:
        """``sockets``: our ends of the worker's and of the keeper's."""
        self._box = box
        self._directory = directory
        self._workspace = workspace
        self._laid = laid
        self._keeper = keeper
        self._resources = resources
        self._surroundings = around.surroundings
        self._scope = around.scope
        self._settle = around.settle
        self._socket = sockets[0]
        self._link = WorkerLink(self._on_request, self._on_emit, self._on_broken)
        self._requests = 0
        self._asked = False
        self._error: BoxhubError | None = None
        self._pid = 0
        self._ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._control = KeeperControl(sockets[1], self._on_output, self._on_exit)

    async def start(self) -> None:
        """Raises `BoxDied`, or what the set-up of the box raised."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self._link, sock=self._socket)
        await asyncio.shield(self._link.ready)
        self._pid = await asyncio.shield(self._control.worker)

    @property
    def id(self) -> str:
        return self._box

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def workspace(self) -> Path:
        return self._workspace

    @property
    def laid(self) -> frozenset[str]:
        return self._laid

    @property
    def keeper(self) -> int:
        """Pid of the parent of all its processes."""
        return self._keeper.pid

    @property
    def resources(self) -> Resources:
        return self._resources

    # --- calls --------------------------------------------------------------------------------------------------------

    async def call(self, request: CallRequest) -> Any:
        pending = self._begin(request, 0)
        try:
            async with asyncio.timeout(request.timeout_s):
                return await asyncio.shield(pending.ended)
        except TimeoutError:
            raise await self._overdue(pending) from None
        except asyncio.CancelledError:
            self._ask_to_end(pending, GRACE_S, self._cancelled(pending))
            raise

    async def stream(self, request: CallRequest, credit: int = 16) -> AsyncIterator[Any]:
        pending = self._begin(request, credit)
        loop = asyncio.get_running_loop()
        until = None if request.timeout_s is None else loop.time() + request.timeout_s
        owed = 0
        try:
            while True:
                while pending.items:
                    yield pending.items.popleft()
                    owed += 1
                    if 2 * owed >= credit:
                        self._link.credit(request.id, owed)
                        owed = 0
                if pending.ended.done():
                    pending.ended.result()
                    return
                pending.arrived.clear()
                async with asyncio.timeout_at(until):
                    await pending.arrived.wait()
        except TimeoutError:
            raise await self._overdue(pending) from None
        except GeneratorExit:
            await self._end(pending, GRACE_S, self._cancelled(pending))
            raise
        finally:
            if not pending.ended.done():
                self._ask_to_end(pending, GRACE_S, self._cancelled(pending))

    async def cancel(self, call: str, grace_s: float = GRACE_S) -> bool:
        pending = self._link.calls.get(call)
        if pending is None:
            return False
        await self._end(pending, grace_s, self._cancelled(pending))
        return True

    def _begin(self, request: CallRequest, credit: int) -> PendingCall:
        if self._ended.done():
            raise self._died(self._ended.result())
        return self._link.begin(request, credit)

    async def _overdue(self, pending: PendingCall) -> BoxhubError:
        """Ends the call, then says what its caller is to be told."""
        request = pending.request
        error = DeadlineExceeded(
            f"{self._box}.{request.skill} did not end within {request.timeout_s:.3g} s",
            timeout="call",
            seconds=request.timeout_s,
            box=self._box,
            skill=request.skill,
        )
        await self._end(pending, GRACE_S, error)
        return error

    def _cancelled(self, pending: PendingCall) -> Cancelled:
        skill = pending.request.skill
        return Cancelled(f"{self._box}.{skill} was cancelled", box=self._box, skill=skill)

    def _ask_to_end(self, pending: PendingCall, grace_s: float, why: BoxhubError) -> None:
        """The skill is asked; when it has not ended in time, the box is killed. Does not wait."""
        if pending.ended.done() or pending.why is not None:
            return
        pending.why = why
        self._link.cancel(pending.request.id)
        timer = asyncio.get_running_loop().call_later(grace_s, self._kill, pending)
        pending.ended.add_done_callback(lambda _: timer.cancel())

    def _kill(self, pending: PendingCall) -> None:
        if not pending.ended.done():
            said = f"{self._box} was killed: {pending.request.skill} did not end when it was asked to"
            self.end_because(BoxDied(said, box=self._box))

    def exceed(self, error: LimitExceeded) -> None:
        """One of its limits was met: it ends now, and its callers are told which."""
        self.end_because(error)

    def end_because(self, error: BoxhubError) -> None:
        """It ends now, and its callers are told why. Harmless after its end; the first reason holds."""
        if not self._ended.done() and self._error is None and not self._scope.closing:
            self._error = error
            self._scope.spawn(self.stop(0.0), f"kill {self._box}")

    async def _end(self, pending: PendingCall, grace_s: float, why: BoxhubError) -> None:
        self._ask_to_end(pending, grace_s, why)
        await asyncio.wait({pending.ended})

    # --- the end ------------------------------------------------------------------------------------------------------

    async def stop(self, grace_s: float = GRACE_S) -> Exit:
        if not self._ended.done():
            self._asked = True
            if grace_s > 0:  # else skills would have time to answer that they were cancelled, and no time to be
                self._link.send({"t": "stop"})
            self._control.stop(grace_s)
            try:
                async with asyncio.timeout(grace_s + _FORCE_S):
                    return await asyncio.shield(self._ended)
            except TimeoutError:
                await asyncio.to_thread(processes.kill_tree, self._keeper.pid)
        return await asyncio.shield(self._ended)

    async def wait(self) -> Exit:
        return await asyncio.shield(self._ended)

    async def stats(self) -> Stats:
        if self._ended.done():
            return Stats()
        return await asyncio.to_thread(self._measure)

    def _measure(self) -> Stats:
        pids = processes.descendants(self._keeper.pid)
        cpu_s, rss_bytes = processes.usage(pids)
        return Stats(len(pids), cpu_s, rss_bytes)

    def _on_exit(self, last: dict[str, Any] | None) -> None:
        self._scope.spawn(self._finish(last), f"end of {self._box}")

    async def _finish(self, last: dict[str, Any] | None) -> None:
        """After this, and not before, the box has ended: for `wait`, `stop` and everybody who called it."""
        await self._keeper.ended.wait()
        self._link.close()
        self._socket.close()
        why = await self._settle(self._box, last is None)
        if self._error is None and not self._asked:
            self._error = why
        if last is None:
            ended = Exit(
                signal=signal.SIGKILL, asked=self._asked, reason="" if self._asked else "its keeper was killed"
            )
        else:
            info = None if self._error is None else self._error.to_info()
            reason = "" if self._error is None else self._error.message
            ended = Exit(last["code"], last["signal"], self._asked, reason, info)
        self._ended.set_result(ended)
        self._link.fail_all(self._died(ended))

    def _died(self, ended: Exit) -> BoxhubError:
        if self._error is not None:
            return error_from_info(self._error.to_info())  # for each caller its own: tracebacks gather in them
        if ended.asked:
            return Unavailable(f"{self._box} was stopped", box=self._box)
        return BoxDied(
            f"{self._box} {ended.text}",
            box=self._box,
            **({"signal": ended.signal} if ended.signal is not None else {"exit_code": ended.code}),
        )

    # --- what the box says by itself ----------------------------------------------------------------------------------

    def _on_broken(self, why: str) -> None:
        self.end_because(BoxDied(f"{self._box} {why}", box=self._box))

    def _on_output(self, text: str, dropped: int) -> None:
        self._surroundings.emit(self._box, "", "output", {"text": text, "dropped": dropped})

    def _on_emit(self, frame: Frame) -> None:
        self._surroundings.emit(self._box, str(frame["call"]), str(frame["kind"]), frame.get("data"))

    def _on_request(self, frame: Frame) -> None:
        if self._scope.closing:
            return
        if self._requests >= _REQUESTS:
            error = Overloaded(f"{self._box} has {self._requests} requests under way", box=self._box)
            self._link.send({"t": "answer", "n": frame["n"], "error": error.to_info().model_dump(mode="json")})
            return
        self._requests += 1
        self._scope.spawn(self._request(frame), f"{frame['verb']} of {self._box}")

    async def _request(self, frame: Frame) -> None:
        answer: Frame = {"t": "answer", "n": frame["n"]}
        try:
            answer["data"] = await self._surroundings.request(
                self._box, str(frame["call"]), str(frame["verb"]), frame["arguments"]
            )
        except BoxhubError as error:
            answer["error"] = error.to_info().model_dump(mode="json")
        finally:
            self._requests -= 1
        self._link.send(answer)
