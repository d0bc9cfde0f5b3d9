"""An attempt of a task on this node: a fresh box on the task's branch, the skill, the files back, the result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from box_agent.driver import CallRequest
from box_agent.node.boxes import Boxes
from box_agent.node.livebox import HostedBox
from schemas.box import BoxDefinition, SpawnRequest
from schemas.errors import BoxNotFound, InvalidInput, SkillNotFound
from schemas.ids import new_id
from schemas.subjects import HUB
from schemas.task import Assignment

if TYPE_CHECKING:
    from box_agent.runner import Attempt

_NAME_KEPT: Final = 40


class Attempts:
    """`Execute` and `Admit` of the node's runner."""

    def __init__(self, boxes: Boxes, spawn_timeout_s: float) -> None:
        self._boxes = boxes
        self._spawn_timeout_s = spawn_timeout_s

    def admit(self, assignment: Assignment) -> None:
        """Refuse at once what cannot begin: it costs the task no retry. Raises `Overloaded`, `BoxNotFound`."""
        spec = assignment.spec
        if assignment.definition is not None:
            self._boxes.check_room(spec.box)
        elif self._boxes.find(spec.box) is None:
            raise BoxNotFound(f"no box {spec.box!r} here", box=spec.box)

    async def execute(self, assignment: Assignment, attempt: Attempt) -> Any:
        """The skill's result. Whatever ends this, the skill has ended, and a fresh box with all its processes."""
        if assignment.definition is None:
            return await self._in_live_box(assignment, attempt)
        definition = BoxDefinition.model_validate(assignment.definition)
        request = self._request(assignment, definition)
        attempt.box = request.id  # whatever is said while it is made, or why it was not, names it
        box = await self._boxes.make(request, attempt, assignment.head)
        try:
            call = _call(box, assignment)
            attempt.started()
            result = await box.call(call, attempt)
        except BaseException as error:
            await self._boxes.end(box, "stopped", f"its attempt ended: {type(error).__name__}", save=False)
            raise
        await self._finish(box)
        return result

    async def _finish(self, box: HostedBox) -> None:
        """The files to the branch. They are taken when nothing can write any more; without changes nobody waits."""
        done = "its attempt is done"
        if box.mount is None or not await box.mount.changed():
            self._boxes.begin_end(box, "stopped", done, save=False)
            return
        await self._boxes.end(box, "stopped", done, save=True)
        if box.unsaved is not None:
            raise box.unsaved

    async def _in_live_box(self, assignment: Assignment, attempt: Attempt) -> Any:
        spec = assignment.spec
        box = self._boxes.find(spec.box)
        if box is None:
            raise BoxNotFound(f"no box {spec.box!r} here", box=spec.box)
        if spec.branch and spec.branch != box.request.branch:
            raise InvalidInput(f"box {box.id!r} works on branch {box.request.branch!r}, not on {spec.branch!r}")
        attempt.box = box.id
        request = _call(box, assignment)
        attempt.started()
        try:
            result = await box.call(request, attempt)
        except BaseException:
            if box.handle is not None:  # cancelled, the call may still be ending: that is to be proved
                await box.handle.cancel(request.id)
            raise
        await self._boxes.save(box)
        return result

    def _request(self, assignment: Assignment, definition: BoxDefinition) -> SpawnRequest:
        spec = assignment.spec
        return SpawnRequest(
            id=new_id(definition.name[:_NAME_KEPT]),
            definition=definition,
            branch=spec.branch,
            owner=HUB,
            isolation=spec.isolation,
            timeout_s=spec.timeouts.start_s or self._spawn_timeout_s,
        )


def _call(box: HostedBox, assignment: Assignment) -> CallRequest:
    spec = assignment.spec
    skills = {skill.name: skill for skill in box.request.definition.skills}
    skill = skills.get(spec.skill)
    if skill is None:
        known = ", ".join(sorted(skills)) or "none"
        raise SkillNotFound(f"{box.id} has no skill {spec.skill!r}; it has {known}", skills=sorted(skills))
    limits = [] if skill.timeout_s is None else [skill.timeout_s]
    if assignment.deadline_at is not None:
        limits.append(max(0.001, assignment.deadline_at - time.time()))
    return CallRequest(
        id=f"{assignment.task}.{assignment.attempt}",
        skill=spec.skill,
        kwargs=spec.arguments,
        caller=HUB,
        timeout_s=min(limits, default=None),
        branch=box.request.branch,
        conversation=spec.conversation,
        task=assignment.task,
    )
