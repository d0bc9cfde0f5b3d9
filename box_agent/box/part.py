"""One ingredient of a Box: a class, or a value built up step by step. Parts are what composition is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from box_agent.box.identity import code_identity
from box_agent.box.signature import hints_of
from schemas.box import Policy, Resources, SkillSpec, Step
from schemas.errors import CompositionConflict


@dataclass(frozen=True)
class Part:
    """Immutable. ``skills`` maps the public name to the function, or to the attribute of ``cls`` that holds it.

    ``members`` is the identity of what ``cls`` has beside skills and ``setup``; nothing, for a class that could as
    well be a value.
    """

    name: str
    version: str = "0"
    description: str = ""
    steps: tuple[Step, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    cls: type[Any] | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    setups: tuple[Callable[..., Any], ...] = ()
    skills: Mapping[str, str | Callable[..., Any]] = field(default_factory=dict)
    specs: Mapping[str, SkillSpec] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    policy: Policy = field(default_factory=Policy)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for parts that make the same environment and skills, in every process and on every machine."""
        content = {
            "steps": [step.model_dump(mode="json") for step in self.steps],
            "env": dict(self.env),
            "skills": {name: self._skill(name) for name in self.skills},
            "setups": [code_identity(fn) for fn in self.setups],
            "members": dict(self.members),
            "resources": self.resources.model_dump(mode="json"),
            "policy": self.policy.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def function(self, skill: str) -> Callable[..., Any]:
        how = self.skills[skill]
        found: Callable[..., Any] = getattr(self.cls, how) if isinstance(how, str) else how
        return found

    def renamed(self, names: Mapping[str, str]) -> Part:
        """With skills under other names, old → new. Raises `CompositionConflict` when two get the same."""
        new = {name: names.get(name, name) for name in self.skills}
        if len(set(new.values())) < len(new):
            twice = next(n for n in new.values() if list(new.values()).count(n) > 1)
            raise CompositionConflict(
                f"box {self.name!r} would have two skills {twice!r}; rename one of them to something else",
                what=f"skill {twice!r}",
                parts=[self.name],
            )
        return replace(
            self,
            skills={new[name]: how for name, how in self.skills.items()},
            specs={new[name]: spec.model_copy(update={"name": new[name]}) for name, spec in self.specs.items()},
        )

    def _skill(self, name: str) -> list[Any]:
        """``self.buy()`` reaches it by the name it was written with, whatever it is called outside."""
        how = self.skills[name]
        inside = how if isinstance(how, str) else getattr(how, "__name__", name)
        spec = self.specs[name].model_dump(mode="json", exclude={"description", "part", "secrets"})
        fn = self.function(name)
        hints = code_identity(sorted(hints_of(fn, name).items()))  # arguments are converted as they say
        return [inside, spec, code_identity(fn), hints]
