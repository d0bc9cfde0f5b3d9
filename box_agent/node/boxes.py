"""Every box of this node by id: made once, bounded in number, ended in order and completely."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from box_agent.bus.scope import Scope
from box_agent.node.config import NodeSettings
from box_agent.node.livebox import HostedBox
from box_agent.node.surroundings import NodeSurroundings
from schemas.box import LiveBox, SpawnRequest
from schemas.errors import (
    BoxDied,
    BoxhubError,
    BoxNotFound,
    DeadlineExceeded,
    IdempotencyConflict,
    Overloaded,
)
from schemas.ids import check_name, new_id

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from box_agent.node.blobs import NodeBlobs
    from box_agent.node.drivers import Drivers
    from box_agent.node.home import NodeHome
    from box_agent.node.mounts import Mount, Mounts
    from box_agent.runner import Attempt

_log = structlog.get_logger("boxhub.node")
_DRAINING_SAVE_S: Final = 5.0
Ended = Literal["stopped", "failed"]


class Boxes:
    """The boxes of one node. ``changed`` is called whenever one begins, is ready or ends."""

    def __init__(
        self,
        agent: Agent,
        settings: NodeSettings,
        home: NodeHome,
        drivers: Drivers,
        blobs: NodeBlobs,
        mounts: Mounts,
        changed: Callable[[], None],
    ) -> None:
        self._agent = agent
        self._settings = settings
        self._home = home
        self._drivers = drivers
        self._blobs = blobs
        self._mounts = mounts
        self._changed = changed
        self._boxes: dict[str, HostedBox] = {}
        self._surroundings = NodeSurroundings(self._boxes.get, settings.secret)
        self._scope = Scope()
        self.draining = False

    def __len__(self) -> int:
        """Those that take a place: ending ones do not."""
        return sum(box.ending is None for box in self._boxes.values())

    def find(self, id: str) -> HostedBox | None:
        return self._boxes.get(id)

    def records(self) -> list[LiveBox]:
        return [box.live() for box in self._boxes.values()]

    def check_room(self, id: str) -> None:
        """Raises `Overloaded` when no further box can be made now."""
        if self.draining:
            raise Overloaded(f"node {self._settings.name!r} is draining: it takes nothing new", box=id)
        if len(self) >= self._settings.max_boxes:
            full = f"node {self._settings.name!r} has {len(self)} of {self._settings.max_boxes} boxes"
            raise Overloaded(f"{full}; stop some, or raise BOXHUB_NODE_MAX_BOXES", box=id)

    # --- live boxes ----------------------------------------------------------------------------------------------

    async def spawn(self, request: SpawnRequest) -> LiveBox:
        """A live box that is ready; the same id again is the same box, also while it is being made.

        Raises `IdempotencyConflict` for another box under this id, `Overloaded`, `DriverUnavailable`, `BlobNotFound`,
        `BranchNotFound`, `DeadlineExceeded` after ``request.timeout_s``, `BoxDied`, and what ``setup`` raised.
        """
        check_name(request.id, "box")
        box = self._boxes.get(request.id)
        if box is not None and box.ending is not None:
            await asyncio.shield(box.ending)
            box = self._boxes.get(request.id)
        if box is None:
            box = self._begin(request, None)
            box.making = self._scope.spawn(self._make_shared(box), f"spawn {box.id}")
        elif _identity(box.request) != _identity(request):
            raise IdempotencyConflict(f"box {request.id!r} lives here, made from another request", box=request.id)
        await asyncio.shield(box.ready)
        return box.live()

    async def stop(self, id: str, reason: str = "") -> LiveBox:
        """End a box; every process of it has ended when this returns. Raises `BoxNotFound`.

        Its branch gets what it changed; when that fails ``reason`` of the record says why.
        """
        box = self._boxes.get(id)
        if box is None:
            raise BoxNotFound(f"no box {id!r} on node {self._settings.name!r}", box=id)
        if box.making is not None and not box.ready.done():
            box.making.cancel()
            await asyncio.wait({box.making})
            return box.live()
        await self.end(box, "stopped", reason, save=box.attempt is None)
        return box.live()

    # --- boxes of attempts ---------------------------------------------------------------------------------------

    async def make(self, request: SpawnRequest, attempt: Attempt, head: str = "") -> HostedBox:
        """A fresh box for one attempt; raises as `spawn` does. Cancelled, everything of it has ended."""
        box = self._begin(request, attempt)
        await self._make(box, head)
        return box

    async def end(self, box: HostedBox, state: Ended, reason: str, *, save: bool) -> None:
        """End it; harmless twice. Cancelled, it ends all the same, but is not waited for."""
        await asyncio.shield(self.begin_end(box, state, reason, save=save))

    def begin_end(self, box: HostedBox, state: Ended, reason: str, *, save: bool) -> asyncio.Task[None]:
        """Begin to end it; its place is free at once."""
        if box.ending is None:
            box.record.state, box.record.reason = "stopping", reason
            box.ending = self._scope.spawn(self._end(box, state, reason, save), f"end {box.id}")
        return box.ending

    async def save(self, box: HostedBox) -> None:
        """Bring what it changed back to its branch, now. Raises as `Mount.save` does, and `DeadlineExceeded`."""
        if box.mount is not None:
            await self._save(box.mount)

    async def aclose(self) -> None:
        """End every box. Harmless twice."""
        self.draining = True
        for box in self._boxes.values():
            if box.making is not None and not box.ready.done():
                box.making.cancel()
        ending = [self.end(box, "stopped", "its node stops", save=True) for box in self._boxes.values() if box.handle]
        await _all(ending)
        while tasks := self._scope.tasks:
            await asyncio.wait(tasks)
        await self._scope.aclose()

    # --- making --------------------------------------------------------------------------------------------------

    def _begin(self, request: SpawnRequest, attempt: Attempt | None) -> HostedBox:
        self.check_room(request.id)
        if request.id in self._boxes:
            raise IdempotencyConflict(f"box {request.id!r} lives here already", box=request.id)
        box = HostedBox(request, self._home.boxes / request.id, self._settings.name, attempt)
        self._boxes[request.id] = box
        self._changed()
        return box

    async def _make_shared(self, box: HostedBox) -> None:
        """`_make` for whoever asks for this id; its outcome is in ``ready``."""
        box.ready.add_done_callback(lambda ready: ready.exception())  # seen, also when nobody waits any more
        try:
            await self._make(box)
        except asyncio.CancelledError:
            box.ready.set_exception(BoxNotFound(f"box {box.id!r} was stopped while it was made", box=box.id))
            raise
        except BoxhubError as error:
            box.ready.set_exception(error)
        except Exception as error:
            box.ready.set_exception(BoxDied(f"box {box.id!r} could not be made: {error!r}", box=box.id))
            raise
        else:
            box.ready.set_result(None)

    async def _make(self, box: HostedBox, head: str = "") -> None:
        request = box.request
        try:
            try:
                async with asyncio.timeout(request.timeout_s):
                    await self._start(box, head)
            except TimeoutError as error:
                raise DeadlineExceeded(
                    f"box {box.id!r} was not ready within {request.timeout_s:.3g} s",
                    timeout="spawn",
                    seconds=request.timeout_s,
                ) from error
        except BaseException as error:
            stopped = isinstance(error, asyncio.CancelledError)
            box.record.state = "stopped" if stopped else "failed"
            box.record.reason = "stopped while it was made" if stopped else str(error)
            undoing = self._scope.spawn(self._undo(box), f"undo {box.id}")
            await asyncio.shield(undoing)
            raise
        box.arm(lambda why: self.begin_end(box, "stopped", str(why), save=True), self._settings.idle_s)
        self._scope.spawn(self._watch(box), f"watch {box.id}")
        self._changed()

    async def _start(self, box: HostedBox, head: str) -> None:
        request = box.request
        driver = self._drivers.choose(request)
        template = await driver.build_template(request.definition, self._blobs)
        box.directory.mkdir(mode=0o700)
        if request.branch:
            box.mount = await self._mounts.open(request.branch, box.directory, head)
        box.attached(await self._agent.attach(box.id, description=request.definition.description), driver.info)
        box.handle = await driver.spawn(template, request, box.directory, self._surroundings)
        if box.mount is not None:
            box.mount.set_apart(box.handle.laid)
        box.serve(box.handle)

    async def _undo(self, box: HostedBox) -> None:
        if box.handle is not None:
            await box.handle.stop(0)
        await self._forget(box)

    # --- ending --------------------------------------------------------------------------------------------------

    async def _watch(self, box: HostedBox) -> None:
        assert box.handle is not None
        ended = await box.handle.wait()
        if box.ending is not None:
            return
        _log.warning("box_died", box=box.id, reason=ended.text)
        self.begin_end(box, "failed", ended.text, save=False)

    async def _end(self, box: HostedBox, state: Ended, reason: str, save: bool) -> None:
        """Process first: calls that still run end with it, and nothing writes any more when the files are read."""
        assert box.handle is not None
        box.disarm()
        ended = await box.handle.stop(self._settings.stop_grace_s)
        if save and box.mount is not None and state == "stopped":
            try:
                await self._save(box.mount)
            except BoxhubError as error:
                box.unsaved = error
                reason = f"{reason}; branch {box.mount.branch!r} was not advanced: {error}".lstrip("; ")
                _log.warning("branch_not_advanced", box=box.id, branch=box.mount.branch, error=str(error))
        box.record.state, box.record.reason = state, reason or ended.reason
        await self._forget(box)

    async def _save(self, mount: Mount) -> None:
        save_s = min(self._settings.save_s, _DRAINING_SAVE_S) if self.draining else self._settings.save_s
        try:
            async with asyncio.timeout(save_s):
                await self._mounts.save(mount)
        except TimeoutError as error:
            late = f"the files of branch {mount.branch!r} were not stored within {save_s:g} s"
            raise DeadlineExceeded(late, timeout="save", seconds=save_s) from error

    async def _forget(self, box: HostedBox) -> None:
        """Its address, its directory, its place."""
        try:
            if box.agent is not None:
                await box.agent.aclose()
        finally:
            trash = self._home.boxes / f".{new_id('ended')}"
            if box.directory.exists():
                box.directory.rename(trash)
                self._scope.spawn(asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True), f"remove {box.id}")
            del self._boxes[box.id]
            self._changed()


def _identity(request: SpawnRequest) -> tuple[Any, ...]:
    """What makes two requests of one id the same."""
    definition = request.definition
    return definition.name, definition.fingerprint or definition.wire(), request.branch


async def _all(coroutines: list[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)
