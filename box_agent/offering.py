"""The skills an agent offers at its address."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, overload

from box_agent.box.skill import bind
from box_agent.bus.skills import AgentPort, CallInfo, OwnSkill, Skill, named
from schemas.box import SkillSpec

F = TypeVar("F", bound=Callable[..., Any])


class Offering(abc.ABC):
    """The part of an agent that says what it can do. ``skills`` is live: what it holds is what is served."""

    def __init__(self) -> None:
        self.skills: dict[str, Skill] = {}

    @overload
    def skill(self, fn: F, /) -> F: ...
    @overload
    def skill(
        self, /, *, name: str | None = None, description: str | None = None, timeout_s: float | None = None
    ) -> Callable[[F], F]: ...
    def skill(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Offer a function as a skill at this address; usable as a decorator, with or without arguments."""

        def offer(target: F) -> F:
            self.add_skill(self._own(named(target, name, description, timeout_s)))
            return target

        return offer if fn is None else offer(fn)

    def serve(self, spec: SkillSpec, fn: Callable[..., Any]) -> None:
        """Offer ``fn`` under the name and description of ``spec``; its hints check the arguments."""
        self.add_skill(self._own(named(fn, spec.name, spec.description or None, spec.timeout_s)))

    def serve_own(self, method: Callable[..., Any]) -> None:
        """Offer a method under its own name; system skills start with ``_``."""
        self.add_skill(self._own(method))

    def add_skill(self, skill: Skill) -> None:
        """Offer any `Skill`, one whose code lives elsewhere (`ForwardedSkill`) included. Replaces one of that name."""
        self.skills[skill.spec.name] = skill
        self._skills_changed()

    def remove_skill(self, name: str) -> None:
        """Harmless when it is not offered."""
        self.skills.pop(name, None)
        self._skills_changed()

    @abc.abstractmethod
    def publish_signal(self, name: str, data: Any = None) -> None: ...

    @abc.abstractmethod
    def _skills_changed(self) -> None: ...

    @abc.abstractmethod
    def _verbs(self) -> dict[str, Callable[..., Any]]:
        """What a skill may do through its `Context`."""

    def _own(self, fn: Callable[..., Any]) -> OwnSkill:
        return OwnSkill(bind(fn), self._port)

    def _port(self, call: CallInfo) -> AgentPort:
        return AgentPort(call, asyncio.get_running_loop(), self._verbs(), self.publish_signal)
