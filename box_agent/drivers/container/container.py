"""`Container`: a world that a container engine made."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import structlog

from box_agent.drivers.container.engine import Engine, EngineSilent
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.peers import ask_for_pids
from box_agent.drivers.forking.templates import Pidfd, TemplateProcess
from box_agent.drivers.local import rootfs
from box_agent.drivers.local.cgroups import MemoryAccount
from box_agent.ending import to_the_end
from schemas.errors import BoxDied, DriverUnavailable, LimitExceeded
from schemas.ids import new_id

_LAUNCH_S: Final = 30.0
_SOCKET: Final = "node"
_END_S: Final = 2.0
_REMOVE_S: Final = 10.0
"""Podman says after five that it cannot, where it missed the end of a container, and can the next time."""
_AGAIN_S: Final = 0.02
_LOOK_S: Final = 0.25
_CREDENTIALS: Final = struct.Struct("iII")
_log = structlog.get_logger("boxhub.node")


class Container:
    """`box_agent.drivers.contained.world.World`. Its first process is connected to this one, and ends with it."""

    def __init__(self, engine: Engine, folder: Path, seen: Environment, memory_bytes: int | None) -> None:
        """``folder``: the container's alone; it is made here and removed in the end."""
        self._engine = engine
        self._name = new_id("boxhub").replace("_", "-")
        self._folder = folder / self._name
        self._seen = seen
        self._memory_bytes = memory_bytes
        self._lifeline: socket.socket | None = None
        self._init: Pidfd | None = None
        self._memory: MemoryAccount | None = None
        self._template: TemplateProcess | None = None

    @property
    def template(self) -> TemplateProcess:
        assert self._template is not None
        return self._template

    @property
    def seen(self) -> Environment:
        return self._seen

    @property
    def workspace(self) -> Path:
        return Path(rootfs.WORKSPACE)

    @property
    def variables(self) -> Mapping[str, str]:
        return {"HOME": rootfs.HOME, "TMPDIR": "/tmp", "USER": "box", "LOGNAME": "box"}  # noqa: S108 - its own

    @property
    def link(self) -> Path:
        """The directory in which the node listens, to be mounted into the container."""
        return self._folder

    async def open(self, content: Mapping[str, Any]) -> Self:
        """Create and start it; returns when its first process takes orders. Nothing is left when that fails."""
        try:
            with self._listen() as listener:
                await to_the_end(self._engine.create(self._name, content))  # else it is made after its removal
                await self._engine.start(self._name)
                async with asyncio.timeout(_LAUNCH_S):
                    control, self._lifeline = await self._connections(listener)
            self._template = TemplateProcess(control)
            self._init = Pidfd(_peer(self._lifeline))
            self._memory = MemoryAccount(self._init.pid)
            await self._template.hello(_LAUNCH_S)
        except BaseException as error:
            await to_the_end(self.aclose())
            if isinstance(error, ProcessLookupError):
                raise BoxDied("a container ended as soon as it was made") from error
            if isinstance(error, TimeoutError):
                raise DriverUnavailable(f"a container did not connect within {_LAUNCH_S:g} s") from error
            raise
        return self

    def _listen(self) -> socket.socket:
        self._folder.mkdir(mode=0o755)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        folder = os.open(self._folder, os.O_PATH | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{_SOCKET}")  # however long the real path is
            (self._folder / _SOCKET).chmod(0o777)  # boxes run as another user, and nobody else gets at the folder
            ask_for_pids(listener)  # what is accepted asks too, from its first message on
            listener.listen(2)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        finally:
            os.close(folder)
        return listener

    async def _connections(self, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
        """Of the init inside: first what takes orders, then its lifeline. Raises `BoxDied` with its last words."""
        loop = asyncio.get_running_loop()
        ending = asyncio.ensure_future(self._exit_code())
        made: list[socket.socket] = []
        try:
            while len(made) < 2:
                accepting = asyncio.ensure_future(loop.sock_accept(listener))
                try:
                    await asyncio.wait({accepting, ending}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    accepting.cancel()
                    await asyncio.wait({accepting})
                if accepting.cancelled():
                    said = await self._engine.output(self._name)
                    raise BoxDied(f"a container ended with exit code {ending.result()} before it connected: {said}")
                made.append(accepting.result()[0])
        except BaseException:
            for each in made:
                each.close()
            raise
        finally:
            ending.cancel()
            await asyncio.wait({ending})
        return made[0], made[1]

    async def _exit_code(self) -> int:
        """As soon as it has ended, or a little later."""
        while True:
            await asyncio.sleep(_LOOK_S)
            code = await self._engine.exit_code(self._name)
            if code is not None:
                return code

    def exceeded(self) -> LimitExceeded | None:
        if self._memory_bytes is None or self._memory is None or not self._memory.ended_something():
            return None
        allowed = self._memory_bytes
        return LimitExceeded(f"it used more than {allowed} bytes of memory", limit="memory_bytes", allowed=allowed)

    async def aclose(self) -> None:
        """That its init has ended is the proof that all has: the kernel saw to it. The engine only tidies up."""
        if self._lifeline is not None:
            self._lifeline.close()
        if self._template is not None:
            await self._template.aclose()
        ended = await self._init_ended()
        try:
            await self._remove()
        except DriverUnavailable as error:
            self._engine.owe_removal(self._name)
            _log.warning("container_not_removed", container=self._name, reason=str(error))
            if self._init is not None and not ended:
                raise
        finally:
            await asyncio.to_thread(shutil.rmtree, self._folder, True)

    async def _init_ended(self) -> bool:
        if self._init is None:
            return False
        try:
            async with asyncio.timeout(_END_S):
                await self._init.ended.wait()
        except TimeoutError:
            return False  # the engine has to kill it
        return True

    async def _remove(self) -> None:
        """Engines refuse for a moment what is just ending."""
        until = asyncio.get_running_loop().time() + _REMOVE_S
        while True:
            try:
                await self._engine.remove(self._name)
                return
            except EngineSilent:
                raise
            except DriverUnavailable:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(_AGAIN_S)


def _peer(sock: socket.socket) -> int:
    """Pid of who connected, as this process numbers it."""
    return int(_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0])
