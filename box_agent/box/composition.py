"""The algebra: which skill, variable and step a Box has that is made of several parts.

Parts are ordered, the left one is the lower layer. Composition is associative and idempotent because it is nothing but
the union of the ordered parts, each once; what could be ambiguous is refused where it arises.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from box_agent.box.part import Part
from schemas.box import ISOLATION_ORDER, Policy, Resources, SkillSpec, Step
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

    def with_parts(self, parts: Iterable[Part]) -> Composition:
        """Every part in the form it has in ``parts``; what was preferred stays so. Raises as `plus` does."""
        changed, kept = tuple(parts), self.preferences
        if kept:  # fingerprints cost a walk through the code
            prints = {old.fingerprint: new.fingerprint for old, new in zip(self.parts, changed, strict=True)}
            kept = frozenset((prints.get(winner, winner), prints.get(loser, loser)) for winner, loser in kept)
        made = Composition(changed, kept)
        made.check()
        return made

    def lowest(self, parts: int) -> Composition:
        """So many of the parts. Not checked: what was decided by a preference for a higher part is open again."""
        return Composition(self.parts[:parts], self.preferences)

    @property
    def reach(self) -> str:
        """What all of a box may reach, in words that are equal when it is."""
        return _said(self.policy())

    def check(self) -> None:
        """Raises `CompositionConflict`."""
        for name, holders in self._holders("skills").items():
            self._winner(
                f"skill {name!r}", holders, 'keep one with "x.prefer(y)", or tell them apart with "x.rename(old=new)"'
            )
            names = [self.parts[i].name for i in holders]
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise CompositionConflict(
                    f"skill {name!r} is in two different parts that are both called {twice[0]!r}, so that "
                    f"{twice[0]}{QUALIFIER}{name} would mean either: give one another name with "
                    '"x.named(…)"',
                    what=f"skill {name!r}",
                    parts=names,
                )
        for name, holders in self._holders("env").items():
            if len({dict(self.parts[i].env)[name] for i in holders}) > 1:
                self._winner(f"environment variable {name!r}", holders, 'keep one with "x.prefer(y)"')
        self._check_grants()

    def _check_grants(self) -> None:
        """Network and mounts are there for a whole box: composing must not hand them to whom they were not given."""
        granted = [(p.name, _said(p.policy)) for p in self._grantees()]
        if len({what for _, what in granted}) > 1:
            told = " and ".join(f"{name!r} ({what})" for name, what in granted)
            raise CompositionConflict(
                f"parts may reach different things: {told}; grants do not widen by composition, so give every part "
                'the same with "x.allow(…)", or keep them in two boxes that call each other',
                what="policy",
                parts=[name for name, _ in granted],
            )

    def _grantees(self) -> list[Part]:
        """Parts with skills, which use what is granted, and parts that ask for something."""
        return [p for p in self.parts if p.skills or _said(p.policy) != _NOTHING]

    def routes(self) -> dict[str, Route]:
        """Public name → where it goes; preferred skills by their name, every skill by its qualified name too."""
        found: dict[str, Route] = {}
        for index, part in enumerate(self.parts):
            for name in part.skills:
                found[f"{part.name}{QUALIFIER}{name}"] = Route(index, name)
        for name, holders in self._holders("skills").items():
            found[name] = Route(self._winner(f"skill {name!r}", holders, ""), name)
        return found

    def specs(self) -> Iterator[SkillSpec]:
        """What can be called, by name; a skill that lost to a preferred one under its qualified name only."""
        for name, holders in sorted(self._holders("skills").items()):
            winner = self._winner(f"skill {name!r}", holders, "")
            for index in holders:
                part = self.parts[index]
                public = name if index == winner else f"{part.name}{QUALIFIER}{name}"
                grants = {"name": public, "part": part.name, "secrets": sorted(part.policy.secrets)}
                yield part.specs[name].model_copy(update=grants)

    def env(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, holders in sorted(self._holders("env").items()):
            values = {dict(self.parts[i].env)[name] for i in holders}
            index = holders[0] if len(values) == 1 else self._winner(name, holders, "")
            found[name] = dict(self.parts[index].env)[name]
        return found

    def steps(self) -> list[Step]:
        """Lower parts first; the same step twice runs once."""
        return [step for _, step in self.steps_by_part()]

    def steps_by_part(self) -> list[tuple[str, Step]]:
        """Each step with the name of the lowest part that has it."""
        found: list[tuple[str, Step]] = []
        seen: set[str] = set()
        for part in self.parts:
            for step in part.steps:
                key = step.model_dump_json()
                if key not in seen:
                    seen.add(key)
                    found.append((part.name, step))
        return found

    def resources(self) -> Resources:
        """What is enough for every part: the larger of two limits, a limit rather than none."""
        merged: dict[str, float] = {}
        for part in self.parts:
            for name, value in part.resources.model_dump(exclude_none=True).items():
                merged[name] = max(merged.get(name, value), value)
        return Resources.model_validate(merged)

    def policy(self) -> Policy:
        """Grants as every part has them, all secrets (each skill says which are its own), the strictest demand."""
        grantees = self._grantees()
        granted = grantees[0].policy if grantees else Policy()
        demands = [p.policy.min_isolation for p in self.parts]
        return granted.model_copy(
            update={
                "secrets": sorted({name for p in self.parts for name in p.policy.secrets}),
                "min_isolation": max(demands, key=ISOLATION_ORDER.index, default="none"),
            }
        )

    def fingerprint(self, platform: str) -> str:
        shared = {i for holders in self._holders("skills").values() if len(holders) > 1 for i in holders}
        qualified = [self.parts[i].name for i in sorted(shared)]  # their names are how skills are reached
        content = [[p.fingerprint for p in self.parts], sorted(self._used_preferences()), qualified, platform]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _used_preferences(self) -> set[tuple[str, str]]:
        """Only those that decide something here, so that an unused preference does not make another Box."""
        found: set[tuple[str, str]] = set()
        for kind in ("skills", "env"):
            for holders in self._holders(kind).values():
                prints = {self.parts[i].fingerprint for i in holders}
                found.update(pair for pair in self.preferences if prints.issuperset(pair))
        return found

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
            others = {self.parts[j].fingerprint for j in holders if j != i}
            mine = self.parts[i].fingerprint
            won = {loser for winner, loser in self.preferences if winner == mine}
            lost_to = {winner for winner, loser in self.preferences if loser == mine}
            if others <= won and not others & lost_to:
                return i
        names = " and ".join(repr(self.parts[i].name) for i in holders)
        raise CompositionConflict(
            f"{what} is in both {names}: {cure}", what=what, parts=[self.parts[i].name for i in holders]
        )


def _said(policy: Policy) -> str:
    """The grants that a whole box shares."""
    ports = f" {', '.join(map(str, sorted(policy.ports)))}" if policy.ports else ""
    mounts = "".join(f", {m.source} at {m.target}" for m in sorted(policy.mounts, key=lambda m: m.target))
    return f"network {policy.network}{ports}{mounts}"


_NOTHING = _said(Policy())
