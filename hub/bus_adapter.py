"""The services as skills of ``_hub``: every public coroutine method of a service, under its own name.

Arguments are checked against the method's type hints before it runs, results become the models' wire form. Who asks is
the sender that the subject of the call proves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Final, get_type_hints

from pydantic_core import to_jsonable_python

from box_agent.box.signature import Kind
from box_agent.box.skill import Bound, bind
from box_agent.bus.skills import CallInfo
from hub.services import Principal, Services
from schemas.box import SkillSpec
from schemas.model import Model

SYSTEM_SKILLS: Final = frozenset({"_task_renew"})
"""Methods that runners call and people do not."""

ServicesOf = Callable[[Principal], Services]


class ServiceSkill:
    """One method of one service, as the serving side of the bus sees a skill."""

    def __init__(self, family: str, bound: Bound, services: ServicesOf) -> None:
        self._family = family
        self._bound = bound
        self._services = services
        # Presence repeats it every two seconds: without the results' schemas it has a third of the size.
        self.spec: SkillSpec = bound.spec.model_copy(update={"output_schema": None})
        self.kind: Kind = bound.kind

    def prepare(self, args: list[Any], kwargs: Mapping[str, Any], call: CallInfo) -> Callable[[], Any]:
        """Raises `InvalidArguments`."""
        checked = self._bound.arguments(args, kwargs)
        service = getattr(self._services(Principal.of_caller(call.caller)), self._family)
        return lambda: self._bound.start(checked, instance=service)

    def result(self, value: Any) -> Any:
        return wire(value)


def service_skills(services: ServicesOf) -> Iterator[ServiceSkill]:
    """A skill for each method. Binding one costs about a millisecond, once per process and tenant."""
    hints = get_type_hints(Services)
    for field in fields(Services):
        for name, method in inspect.getmembers(hints[field.name], inspect.isfunction):
            is_skill = not name.startswith("_") or name in SYSTEM_SKILLS
            if is_skill and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)):
                yield ServiceSkill(field.name, bind(method), services)


def wire(value: Any) -> Any:
    """JSON-able data; models without the fields that have their default."""
    if isinstance(value, Model):
        return value.wire()
    if isinstance(value, list):
        return [wire(item) for item in value]
    return to_jsonable_python(value)
