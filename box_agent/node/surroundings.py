"""Around the boxes: their own requests go out under their own addresses, their progress goes where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import BoxhubError, BoxNotFound, InvalidInput, PermissionDenied
from schemas.subjects import HUB

if TYPE_CHECKING:
    from box_agent.node.livebox import HostedBox

VERBS: Final[Mapping[str, frozenset[str]]] = {
    "send_message": frozenset({"to", "data", "id", "correlation_id", "causation_id", "reply_to", "branch"}),
    "publish_event": frozenset({"name", "data", "id", "correlation_id", "causation_id", "branch"}),
    "call": frozenset({"box", "skill", "args", "kwargs", "timeout_s"}),
    "secret": frozenset({"name"}),
}
"""What a box may ask for, and with which arguments. A box is not trusted: whatever else it sends is refused."""


class NodeSurroundings:
    """Implements `box_agent.driver.Surroundings` for the boxes that ``find`` knows."""

    def __init__(self, find: Callable[[str], HostedBox | None], secret: Callable[[str], str]) -> None:
        self._find = find
        self._secret = secret

    async def request(self, box: str, call: str, verb: str, arguments: Mapping[str, Any]) -> Any:
        """See the port. Raises `InvalidInput`, `PermissionDenied` for skills that are the platform's own."""
        hosted = self._find(box)
        if hosted is None or hosted.agent is None:
            raise BoxNotFound(f"box {box!r} has ended", box=box)
        allowed = VERBS.get(verb)
        if allowed is None or not isinstance(arguments, Mapping):
            raise InvalidInput(f"{str(verb)[:50]!r} is nothing a box may ask for: {', '.join(VERBS)}")
        if unknown := sorted(set(arguments) - allowed):
            raise InvalidInput(f"{verb} takes {', '.join(sorted(allowed))}, not {', '.join(unknown)}")
        given = dict(arguments)
        try:
            if verb == "secret":
                return self._granted(hosted, given.get("name"))
            if verb == "call":
                target, skill = _target(given)
                args, kwargs = given.pop("args", None) or (), given.pop("kwargs", None) or {}
                return await hosted.agent.call(target, skill, *args, **given, **kwargs)
            return await getattr(hosted.agent, verb)(**given)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{verb}: {error}") from error

    def _granted(self, hosted: HostedBox, name: object) -> str:
        if name not in hosted.request.definition.policy.secrets:
            raise PermissionDenied(f"box {hosted.id!r} was not granted secret {str(name)[:100]!r}", box=hosted.id)
        return self._secret(str(name))

    def emit(self, box: str, call: str, kind: str, data: Any) -> None:
        """Into the reports of the attempt it belongs to, otherwise a signal ``box.<kind>`` from the box's address."""
        hosted = self._find(box)
        if hosted is None or hosted.agent is None:
            return  # its last words, after its end
        request, attempt = hosted.calls.get(call, (None, hosted.attempt))
        if attempt is not None:
            attempt.report(kind if kind == "progress" else "log", data)
            return
        about = {"call": call, "skill": request.skill, "caller": request.caller} if request is not None else {}
        try:
            hosted.agent.publish_signal(f"box.{kind}", {**about, "data": data})
        except BoxhubError as error:
            hosted.agent.connection.faults.report("box_signal_not_sent", box=box, kind=kind, error=str(error))


def _target(given: dict[str, Any]) -> tuple[str, str]:
    """Whom it calls. The skills with which hub and nodes direct each other are not for boxes."""
    box, skill = given.pop("box", None), given.pop("skill", None)
    if not isinstance(box, str) or not isinstance(skill, str):
        raise InvalidInput("call: give the address and the skill as text")
    if skill.startswith("_") or (box.startswith("_") and box != HUB):
        raise PermissionDenied(f"{box}.{skill} is the platform's own; a box cannot call it", box=box, skill=skill)
    return box, skill
