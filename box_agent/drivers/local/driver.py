"""`LocalDriver`: live boxes in Linux namespaces, for root and for any other user."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from box_agent.driver import Template
from box_agent.drivers.forking.cache import Warm
from box_agent.drivers.forking.driver import LAUNCH_S, MAX_TEMPLATES, ForkingDriver, Place
from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.limits import DEFAULT_PIDS, OPEN_FILES
from box_agent.drivers.forking.peers import close_all
from box_agent.drivers.forking.steps import Work
from box_agent.drivers.forking.templates import Pidfd, TemplateGone, TemplateProcess
from box_agent.drivers.local import rootfs
from box_agent.drivers.local.building import Building
from box_agent.drivers.local.cgroups import Cgroups
from box_agent.drivers.local.identity import box_identity, hand_over
from box_agent.drivers.local.lending import Lending
from box_agent.drivers.local.ports import Forwarders
from box_agent.drivers.local.seen import as_seen, for_boxes
from box_agent.drivers.local.trial import NoBlobs, Unheard, before_trying, explain
from box_agent.worker import processes
from schemas.box import BoxDefinition, Resources, SpawnRequest
from schemas.errors import BoxDied, BoxhubError, LimitExceeded
from schemas.node import DriverInfo

_TRIAL_S: Final = 10.0
_END_S: Final = 2.0
_LEND_S: Final = 10.0
_SCRATCH_BYTES: Final = 256 * 1024 * 1024
"""Of ``/tmp``, ``/dev/shm`` and the home directory together, in memory, unless the box's ``disk_bytes`` is less."""
_OWN: Final = {"HOME": rootfs.HOME, "TMPDIR": "/tmp", "USER": "box", "LOGNAME": "box"}  # noqa: S108 - its own
"""Of templates too: what ``setup`` leaves in these directories every box begins with a copy of."""
_MORE_PROCESSES: Final = 64
"""Than the limit says are not possible at all; between the two the box is ended, and told why."""


class LocalDriver(ForkingDriver):
    """Declares ``namespace``. As root, boxes run as a user that nobody else is; otherwise as the node's own."""

    boot: ClassVar[str] = (
        "from box_agent.drivers.local.ground import main; main({{fd}}, {{parent}}, {lifeline}, {user})"
    )

    def __init__(
        self,
        home: Path,
        variables: Mapping[str, str],
        max_templates: int = MAX_TEMPLATES,
        template_bytes: int = 0,
        *,
        lending: Lending | None = None,
        build_bytes: int = 0,
    ) -> None:
        """``lending``: which directories boxes may be granted; without it all that are nobody's secrets.

        ``build_bytes``: disk that one step of an environment may take; 0: half of what is free when it begins.
        """
        super().__init__(home, {**variables, **_OWN}, max_templates, template_bytes)
        self._lending = lending or Lending([home])
        self._build_bytes = build_bytes
        self._root = self._home / "root"
        self._root.mkdir(exist_ok=True, mode=0o700)
        self._nothing = self._home / "nothing"
        self._nothing.mkdir(exist_ok=True, mode=0o755)
        self._identity = box_identity()
        self._cgroups = Cgroups(self._home)
        self._lifeline = os.pipe()  # nobody inherits it, but for the ground, which gets the end to read
        self._open = True
        self._stages: dict[TemplateProcess, Pidfd] = {}  # what ends with everything on it
        self._forwarders = Forwarders(self._scope, self._lost_ports)
        self._info = DriverInfo(
            name="local",
            isolation="namespace",
            branching="fs",
            available=False,
            reason="it was not tried yet",
            loopback=True,
            mounts=True,
            warm=True,
        )

    @property
    def info(self) -> DriverInfo:
        return self._info

    # --- whether it works ---------------------------------------------------------------------------------------------

    async def probe(self) -> DriverInfo:
        reason = before_trying() or await self._try()
        self._info = self._info.model_copy(update={"available": not reason, "reason": reason})
        return self._info

    async def _try(self) -> str:
        """One box without code, made and ended; what went wrong, if anything did."""
        definition = BoxDefinition(name="trial", fingerprint="trial")
        directory = self._home / "trial"
        directory.mkdir(exist_ok=True)
        try:
            async with asyncio.timeout(_TRIAL_S):
                template = await self.build_template(definition, NoBlobs())
                request = SpawnRequest(id="trial", definition=definition, timeout_s=_TRIAL_S)
                box = await self.spawn(template, request, directory, Unheard())
                await box.stop(0)
        except TimeoutError:  # an OSError too
            return explain(TimeoutError(f"it took longer than {_TRIAL_S:g} s"))
        except (BoxhubError, OSError) as error:
            return explain(error)
        finally:
            await self.remove_template(definition.fingerprint)
            shutil.rmtree(directory, ignore_errors=True)
        return ""

    # --- commands of an environment -----------------------------------------------------------------------------------

    async def _carry_out(self, work: Work) -> None:
        """In a box of its own, whose workspace is the directory. It has the machine's network if the work needs it."""
        building = Building.of(work, self._nothing, self._variables, self._build_bytes, moved=True)
        code = await asyncio.to_thread(building.write_code, self._home)
        process, _ = await self._prepare(building.definition, building.environment, [code], self._fresh)
        try:
            template = Template(building.box, "local", 0.0)
            warm = Warm(template, building.definition, NoBlobs(), building.environment, process)
            handle = await self._start(warm, building.box, work.directory, Unheard())
            try:
                await building.carry_out(handle)
            finally:
                await handle.stop(0)
        finally:
            await self._discard(process)

    # --- templates ----------------------------------------------------------------------------------------------------

    async def _launch(self) -> TemplateProcess:
        boot = self.boot.format(lifeline=self._lifeline[0], user=self._identity)
        variables = for_boxes(self._variables)
        return await TemplateProcess.launch(variables, self._home, boot, LAUNCH_S, (self._lifeline[0],))

    async def _derive(
        self, base: TemplateProcess, definition: BoxDefinition, environment: Environment
    ) -> TemplateProcess:
        self._forget_stages()
        seen = self._seen(environment)
        made = (environment.directory, *environment.packages)
        binds = dict(zip(map(str, (seen.directory, *seen.packages)), map(str, made), strict=True))
        binds.update(seen.shown)
        policy = definition.policy
        granted = await asyncio.to_thread(self._lending.granted, policy.mounts) if policy.mounts else {}
        details = {"root": str(self._root), "binds": binds, "granted": granted, "network": policy.network == "full"}
        process, answer = await base.derive(LAUNCH_S, details)
        try:
            self._stages[process] = Pidfd(answer["pid"])
        except ProcessLookupError:
            pass  # it has ended, and with it the template: whoever uses that finds out
        return process

    async def _grow(self, prefix: Warm, environment: Environment) -> TemplateProcess:
        self._forget_stages()
        process, _ = await prefix.process.derive(LAUNCH_S)
        lent: list[int] = []
        try:
            self._stages[process] = Pidfd(processes.parent_of(process.process.pid) or process.process.pid)
            for path in (environment.directory, *environment.packages):
                order = {"op": "lend", "directory": str(path), "read_only": True}
                lent += (await (await self._first()).order(order, (), _LEND_S)).fds
            await process.order({"op": "see", "packages": [p.name for p in environment.packages]}, lent, _LEND_S)
        except BaseException as error:
            await self._discard(process)
            if isinstance(error, ProcessLookupError):
                raise TemplateGone("it ended as soon as it was made") from error
            raise
        finally:
            close_all(tuple(lent))
        return process

    def _seen(self, environment: Environment) -> Environment:
        return as_seen(environment)

    def _forget_stages(self) -> None:
        self._stages = {process: pid for process, pid in self._stages.items() if not pid.ended.is_set()}

    async def _discard(self, process: TemplateProcess) -> None:
        stage = self._stages.pop(process, None)
        if stage is not None:
            await _end(stage, at_once=True)
        await process.aclose()

    async def _end_stages(self) -> None:
        if self._open:
            self._open = False
            os.close(self._lifeline[1])
        for stage in self._stages.values():
            await _end(stage, at_once=False)
        self._stages.clear()
        if self._lifeline[0] >= 0:
            os.close(self._lifeline[0])
            self._lifeline = (-1, -1)

    # --- boxes --------------------------------------------------------------------------------------------------------

    async def _place(self, warm: Warm, box: str, directory: Path, folder: Path) -> Place:
        resources, ports = warm.definition.resources, sorted(set(warm.definition.policy.ports))
        if self._identity:
            await asyncio.to_thread(hand_over, directory, self._identity)
        groups = await self._groups(box, resources)
        lent: list[int] = []
        try:
            ground = await self._first()
            lent += (await ground.order({"op": "lend", "directory": str(directory)}, (), _LEND_S)).fds
            if ports:
                lent.append(await self._forwarders.open(ground, box, ports, groups))
        except BaseException:
            close_all((*lent, *groups))
            raise
        scratch_bytes = min(resources.disk_bytes or _SCRATCH_BYTES, _SCRATCH_BYTES)
        return Place(
            Path(rootfs.WORKSPACE),
            _OWN,
            {"caps": _caps(resources), "scratch_bytes": scratch_bytes, "ports": bool(ports)},
            (*lent, *groups),
        )

    def _lost_ports(self, box: str) -> None:
        handle = self._handles.get(box)
        if handle is not None:
            handle.end_because(BoxDied(f"{box} lost its network: its port forwarder has ended", box=box))

    async def _undo(self, box: str) -> None:
        try:
            await self._forwarders.close(box)
        finally:
            await super()._undo(box)

    def _vacate(self, box: str) -> None:
        self._cgroups.remove(box)

    def _exceeded(self, box: str, resources: Resources) -> LimitExceeded | None:
        return self._cgroups.exceeded(box, resources)

    async def _groups(self, box: str, resources: Resources) -> tuple[int, ...]:
        if not self._cgroups.limits(resources):
            return ()
        making = asyncio.ensure_future(asyncio.to_thread(self._cgroups.make, box, resources))
        try:
            return tuple(await asyncio.shield(making))
        except asyncio.CancelledError:
            await asyncio.wait({making})  # a thread goes on when its caller is cancelled
            if making.exception() is None:
                close_all(tuple(making.result()))
            raise

    async def _settle(self, box: str, orphaned: bool) -> BoxhubError | None:
        """The kernel ended all of its pid namespace before its keeper was gone."""
        await self._forwarders.close(box)
        resources = self._handles[box].resources
        why = None
        if self._cgroups.limits(resources):
            why = await asyncio.to_thread(self._cgroups.exceeded, box, resources)
            await asyncio.to_thread(self._cgroups.remove, box)
        await self._forget(box)
        return why

    async def sweep(self) -> Sequence[str]:
        found = await super().sweep()
        await asyncio.to_thread(self._cgroups.sweep)
        return found


def _caps(resources: Resources) -> dict[str, int]:
    return {
        "RLIMIT_NPROC": (resources.pids or DEFAULT_PIDS) + _MORE_PROCESSES,
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_CORE": 0,
    }


async def _end(process: Pidfd, *, at_once: bool) -> None:
    """Returns when it has ended."""
    if not at_once:
        try:
            async with asyncio.timeout(_END_S):
                await process.ended.wait()
        except TimeoutError:
            pass
    process.send(signal.SIGKILL)
    await process.ended.wait()
