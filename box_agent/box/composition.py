"""The algebra: which skill, variable and step a Box has that is made of several parts.

Parts are ordered, the left one is the lower layer. Composition is associative and idempotent because it is nothing but
the union of the ordered parts, each once; what could be ambiguous is refused where it arises.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from box_agent.box.part import Part
from schemas.box import Policy, Resources, Step
from schemas.errors import CompositionConflict

QUALIFIER = "--"
"""``part--skill`` reaches a skill by its part, also when another part's skill of that name was preferred."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call to a skill goes."""

    part: int
    attribute: str


@dataclass(frozen=True)
class Composition:
    """Parts, lowest first, and which of two parts wins where both have a name: (winner, loser) fingerprints."""

    parts: tuple[Part, ...] = ()
    preferences: frozenset[tuple[str, str]] = frozenset()

    def plus(self, other: Composition) -> Composition:
        """Union. Raises `CompositionConflict` that names both sides and the cure."""
        known = {p.fingerprint for p in self.parts}
        added = tuple(p for p in other.parts if p.fingerprint not in known)
        made = Composition(self.parts + added, self.preferences | other.preferences)
        made.check()
        return made

    def check(self) -> None:
        for name, holders in self._holders("skills").items():
            self._winner(
                f"skill {name!r}", holders, 'keep one with "x.prefer(y)", or tell them apart with "x.rename(old=new)"'
            )
        for name, holders in self._holders("env").items():
            if len({dict(self.parts[i].env)[name] for i in holders}) > 1:
                self._winner(f"environment variable {name!r}", holders, 'keep one with "x.prefer(y)"')
        if len({(p.policy.network, p.policy.min_isolation) for p in self.parts if p.skills}) > 1:
            names = ", ".join(f"{p.name!r} ({p.policy.network})" for p in self.parts if p.skills)
            raise CompositionConflict(
                f"parts ask for different networks or isolation: {names}; grants do not widen by composition, "
                "give both the same policy",
                what="policy",
            )

    def routes(self) -> dict[str, Route]:
        """Public name → where it goes; preferred skills by their name, every skill by its qualified name too."""
        found: dict[str, Route] = {}
        for index, part in enumerate(self.parts):
            for name in part.skills:
                found[f"{part.name}{QUALIFIER}{name}"] = Route(index, name)
        for name, holders in self._holders("skills").items():
            found[name] = Route(self._winner(f"skill {name!r}", holders, ""), name)
        return found

    def hidden(self) -> list[str]:
        """Qualified names of the skills that lost to a preferred one."""
        routes = self.routes()
        return [
            f"{part.name}{QUALIFIER}{name}"
            for index, part in enumerate(self.parts)
            for name in part.skills
            if routes[name].part != index
        ]

    def env(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, holders in self._holders("env").items():
            values = {dict(self.parts[i].env)[name] for i in holders}
            index = holders[0] if len(values) == 1 else self._winner(name, holders, "")
            found[name] = dict(self.parts[index].env)[name]
        return found

    def steps(self) -> list[Step]:
        """Lower parts first; the same step twice runs once."""
        found: list[Step] = []
        seen: set[str] = set()
        for part in self.parts:
            for step in part.steps:
                key = step.model_dump_json()
                if key not in seen:
                    seen.add(key)
                    found.append(step)
        return found

    def resources(self) -> Resources:
        """What is enough for every part: the larger of two limits, a limit rather than none."""
        merged: dict[str, float] = {}
        for part in self.parts:
            for name, value in part.resources.model_dump(exclude_none=True).items():
                merged[name] = max(merged.get(name, value), value)
        return Resources.model_validate(merged)

    def policy(self) -> Policy:
        owners = [p.policy for p in self.parts if p.skills] or [p.policy for p in self.parts]
        secrets = sorted({name for policy in owners for name in policy.secrets})
        return owners[0].model_copy(update={"secrets": secrets}) if owners else Policy()

    def fingerprint(self, platform: str) -> str:
        content = [[p.fingerprint for p in self.parts], sorted(self._used_preferences()), platform]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _used_preferences(self) -> Iterable[tuple[str, str]]:
        """Only those that decide something here, so that an unused preference does not make another Box."""
        for kind in ("skills", "env"):
            for holders in self._holders(kind).values():
                prints = [self.parts[i].fingerprint for i in holders]
                for winner, loser in self.preferences:
                    if winner in prints and loser in prints:
                        yield (winner, loser)

    def _holders(self, kind: str) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, part in enumerate(self.parts):
            for name in dict(part.env) if kind == "env" else part.skills:
                found.setdefault(name, []).append(index)
        return found

    def _winner(self, what: str, holders: list[int], cure: str) -> int:
        if len(holders) == 1:
            return holders[0]
        for i in holders:
            mine = self.parts[i].fingerprint
            if all((mine, self.parts[j].fingerprint) in self.preferences for j in holders if j != i):
                return i
        names = " and ".join(repr(self.parts[i].name) for i in holders)
        raise CompositionConflict(
            f"{what} is in both {names}: {cure}", what=what, parts=[self.parts[i].name for i in holders]
        )
