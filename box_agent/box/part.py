"""One ingredient of a Box: a class, or a value built up step by step. Parts are what composition is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from box_agent.box.identity import code_identity
from schemas.box import Policy, Resources, SkillSpec, Step


@dataclass(frozen=True)
class Part:
    """Immutable. ``skills`` maps the public name to the function, or to the attribute of ``cls`` that holds it."""

    name: str
    version: str = "0"
    description: str = ""
    steps: tuple[Step, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    cls: type[Any] | None = None
    skills: Mapping[str, str | Callable[..., Any]] = field(default_factory=dict)
    specs: Mapping[str, SkillSpec] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    policy: Policy = field(default_factory=Policy)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for parts that make the same environment and skills, in every process and on every machine."""
        things = ([self.cls] if self.cls else []) + [f for f in self.skills.values() if callable(f)]
        content = {
            "steps": [s.model_dump(mode="json") for s in self.steps],
            "env": dict(self.env),
            "skills": {
                name: [
                    spec.model_dump(mode="json", exclude={"description"}),
                    how if isinstance(how, str) else how.__qualname__,
                ]
                for (name, how), spec in zip(sorted(self.skills.items(), key=_key), _sorted(self.specs), strict=True)
            },
            "resources": self.resources.model_dump(mode="json"),
            "policy": self.policy.model_dump(mode="json"),
            "code": code_identity(*things),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def empty(self) -> bool:
        """Nothing in it that a box would notice."""
        return not (self.steps or self.env or self.skills or self.cls) and self.resources == Resources()


def _key(item: tuple[str, Any]) -> str:
    return item[0]


def _sorted(specs: Mapping[str, SkillSpec]) -> list[SkillSpec]:
    return [spec for _, spec in sorted(specs.items(), key=_key)]
