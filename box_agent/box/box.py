"""`Box`: a value that binds skills to an environment, and composes.

Two styles give the same thing, with the same fingerprint::

    class Coffee(Box, packages=["requests==2.32.3"], env={"CUP": "large"}):
        @skill
        def buy_coffee(self, kind: str) -> str: ...


    coffee = Box("coffee").pip("requests==2.32.3").env(CUP="large").skill(buy_coffee)

Calling a class makes its value, ``Coffee()``; every method that changes something returns a new value.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

from box_agent.box.composition import Composition
from box_agent.box.declared import OPTIONS, Content, Options, Requirement, checked, files_step, kebab, part_of, pip_step
from box_agent.box.explaining import explain
from box_agent.box.packing import pack
from box_agent.box.part import Part
from box_agent.box.program import LIVE, Surroundings, sibling_of
from box_agent.box.skill import skill_name, spec_of
from box_agent.box.verbs import Verbs
from schemas.box import BoxDefinition, Explanation, Isolation, Mount, Policy, Resources, RunStep, SkillSpec
from schemas.errors import CompositionConflict, InvalidInput
from schemas.ids import check_name
from schemas.tree import blob_hash


class Box(Verbs):
    """Immutable; equal by fingerprint. See the module's docstring for the two ways to define one.

    A subclass may define ``setup(self)``: it runs once in the warm template, before any live box is forked from it, so
    what it imports and computes costs nothing at spawn.
    """

    name: str = ""
    empty: ClassVar[Box]
    """The identity of ``+``: nothing in it."""

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: str = "0",
        description: str | None = None,
        packages: Iterable[Requirement] = (),
        files: Mapping[str, Content] | None = None,
        commands: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        resources: Resources | None = None,
        policy: Policy | None = None,
        **kwargs: Any,
    ) -> None:
        """Class keywords are the environment; a subclass adds to its parents' and overrides it.

        ``packages``, ``files`` and ``commands`` mean what `pip`, `files` and `run` take, and are made in this order.
        """
        super().__init_subclass__(**kwargs)
        if name is None:
            name = cls.__dict__.get("name") or kebab(cls.__name__)
        cls.name = check_name(name, "box")
        options = Options(
            version, description, tuple(packages), files or {}, tuple(commands), env or {}, resources, policy
        )
        setattr(cls, OPTIONS, options)

    def __init__(self, name: str | None = None) -> None:
        cls = type(self)
        blobs: dict[str, bytes] = {}
        if cls is Box:
            part = Part(name=check_name(name or "box", "box"))
        else:
            part = part_of(cls, check_name(name or cls.name, "box"), Box, blobs)
        self._become(part.name, Composition((part,)), blobs)

    # --- building -----------------------------------------------------------------------------------------------------

    def files(self, files: Mapping[str, Content]) -> Box:
        """With these files in the box's directory: relative path → text, bytes, or the local file or directory."""
        blobs = dict(self._blobs)
        return self._with(blobs, steps=(files_step(files, blobs),))

    def pip(self, *packages: Requirement, expires_s: float | None = None) -> Box:
        """With these packages, installed once into a cached layer: requirements, or a `Path` to a wheel, which travels.

        A requirement without a pinned version (``name==1.2``) makes the layer impure: it is made again after
        ``expires_s``, a day unless said otherwise.
        """
        blobs = dict(self._blobs)
        return self._with(blobs, steps=(pip_step(packages, blobs, expires_s),))

    def run(
        self, command: str, *, timeout_s: float | None = None, network: bool = False, expires_s: float | None = None
    ) -> Any:
        """On a value: with this shell command as a step of the environment; returns the new Box.

        ``network``: it fetches something: it has the machine's network, which commands behind a wall do not have else,
        and its layer is impure and is made again after ``expires_s``, a day unless said otherwise.

        On ``self`` inside a skill: runs the command in the box's directory now and returns its result; the whole
        process tree ends with the timeout, or with the skill.
        """
        live = self.__dict__.get(LIVE)
        if live is not None:
            surroundings: Surroundings = live.surroundings
            return surroundings.run(command, timeout_s=timeout_s)
        step = checked(RunStep, command=command, timeout_s=timeout_s or 600, network=network, expires_s=expires_s)
        return self._with(steps=(step,))

    def warm(self, fn: Callable[..., Any]) -> Box:
        """With ``fn`` run once in the warm template: what ``setup`` is in class style. It may take ``self``."""
        part = self._own_part("warm")
        return self._replace(part, setups=(*part.setups, fn))

    def env(self, **variables: str) -> Box:
        """With these environment variables."""
        part = self._own_part("env")
        return self._replace(part, env=tuple(sorted({**dict(part.env), **variables}.items())))

    def skill(self, fn: Callable[..., Any]) -> Box:
        """With ``fn`` as a further skill."""
        part = self._own_part("skill")
        name = skill_name(fn)
        if name in part.skills:
            raise CompositionConflict(f"box {part.name!r} has a skill {name!r} already", what=f"skill {name!r}")
        return self._replace(part, skills={**part.skills, name: fn}, specs={**part.specs, name: spec_of(fn)})

    def limit(self, **resources: Any) -> Box:
        """With these limits; the fields of `schemas.box.Resources`."""
        part = self._own_part("limit")
        limits = checked(Resources, **resources).model_dump(exclude_none=True)
        return self._replace(part, resources=part.resources.model_copy(update=limits))

    def allow(
        self,
        *,
        network: str | None = None,
        ports: Iterable[int] = (),
        mounts: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> Box:
        """With these grants: ``network`` none, loopback (then ``ports`` of the node's loopback) or full; ``mounts``,
        path in the box → directory of the node, read-only; ``secrets`` by name, for `Context.secret`.

        Of a composition every part gets them, except secrets: those belong to one part.
        """
        if secrets := sorted(set(secrets)):
            self._own_part("allow(secrets=…)")

        def granted(old: Policy) -> Policy:
            return checked(
                Policy,
                network=network or ("loopback" if ports else old.network),
                ports=sorted({*ports, *(old.ports if network in (None, "loopback") else ())}),
                mounts=[*old.mounts, *(checked(Mount, source=s, target=t) for t, s in sorted((mounts or {}).items()))],
                secrets=sorted({*old.secrets, *secrets}),
                min_isolation=old.min_isolation,
            )

        ports = list(ports)
        return self._with_parts(replace(p, policy=granted(p.policy)) for p in self._composition.parts)

    def require(self, *, isolation: Isolation) -> Box:
        """Never with less isolation than this: a machine that cannot do it refuses."""
        demand = checked(Policy, min_isolation=isolation).model_dump(include={"min_isolation"})
        return self._with_parts(replace(p, policy=p.policy.model_copy(update=demand)) for p in self._composition.parts)

    def described(self, description: str, *, version: str | None = None) -> Box:
        """With what people read about it; the fingerprint stays."""
        part = self._own_part("described")
        return self._replace(part, description=description, version=version or part.version)

    def named(self, name: str) -> Box:
        """The same Box under another name; the fingerprint stays."""
        check_name(name, "box")
        parts = self._composition.parts
        if len(parts) == 1:
            return self._made(name, replace(self._composition, parts=(replace(parts[0], name=name),)), self._blobs)
        return self._made(name, self._composition, self._blobs)

    # --- composing ----------------------------------------------------------------------------------------------------

    def __add__(self, other: object) -> Box:
        """``self`` below, ``other`` above. Raises `CompositionConflict` where the result would be ambiguous."""
        if isinstance(other, type) and issubclass(other, Box):
            other = other()
        if not isinstance(other, Box):
            return NotImplemented
        if not self._composition.parts:
            return other
        if not other._composition.parts:
            return self
        made = self._composition.plus(other._composition)
        if made.parts == self._composition.parts and made.preferences == self._composition.preferences:
            return self
        return self._made(_joined([p.name for p in made.parts]), made, {**self._blobs, **other._blobs})

    def prefer(self, winner: Box | type[Box]) -> Box:
        """Where a part of ``self`` and a part of ``winner`` clash in a composition, the latter's skill or value holds.

        The other stays reachable as ``part--skill``.
        """
        value = winner() if isinstance(winner, type) else winner
        pairs = {
            (w.fingerprint, mine.fingerprint)
            for w in value._composition.parts
            for mine in self._composition.parts
            if w.fingerprint != mine.fingerprint
        }
        return self._made(
            self.name, replace(self._composition, preferences=self._composition.preferences | pairs), self._blobs
        )

    def rename(self, **names: str) -> Box:
        """With skills under other names: ``shop.rename(buy="buy_coffee")``. Raises `CompositionConflict`."""
        unknown = sorted(set(names) - {n for p in self._composition.parts for n in p.skills})
        if unknown:
            raise InvalidInput(f"box {self.name!r} has no skill {', '.join(map(repr, unknown))} to rename")
        for name in names.values():
            skill_name(name)
        return self._with_parts(part.renamed(names) for part in self._composition.parts)

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that makes a difference inside: steps, code, skills, limits, platform."""
        if "_fingerprint" not in self.__dict__:
            self.__dict__["_fingerprint"] = self._composition.fingerprint(_platform())
        found: str = self.__dict__["_fingerprint"]
        return found

    @property
    def skills(self) -> list[SkillSpec]:
        """What can be called, by name; a skill that lost to a preferred one under its qualified name."""
        return sorted(self._composition.specs(), key=lambda spec: spec.name)

    @property
    def parts(self) -> list[str]:
        """Names of what it was composed from, lowest first."""
        return [p.name for p in self._composition.parts]

    def schema(self) -> dict[str, Any]:
        """Skill name → JSON Schema of its input and output."""
        return {s.name: {"input": s.input_schema, "output": s.output_schema} for s in self.skills}

    def explain(self) -> Explanation:
        """Its layers and their fingerprints; print it.

        When a hub is there already, also which of them a node has cached, and notes such as why ``setup`` runs again in
        every box. Starts nothing.
        """
        from box_agent.sync import running_agent_for

        parts = [name for name, _ in self._composition.steps_by_part()]
        try:
            definition = self.pack()[0]
        except InvalidInput:  # its code cannot travel, which is no reason not to look at it
            definition = self._definition()
        here = explain(definition, _platform(), parts)
        agent = running_agent_for(self.name)
        if agent is None:
            return here
        there: Explanation = agent.boxes.explain(definition)
        return here.asked(there)

    def pack(self) -> tuple[BoxDefinition, dict[str, bytes]]:
        """The definition for the wire and every blob it refers to, by hash; costs a few milliseconds."""
        packed = pack(self._composition, _platform())
        described = self._definition().model_copy(
            update={"code": packed.code, "prefixes": packed.prefixes, "together": packed.together}
        )
        return described, {**self._blobs, **packed.blobs}

    def _definition(self) -> BoxDefinition:
        """Without code."""
        composition = self._composition
        parts = composition.parts
        return BoxDefinition(
            name=self.name,
            version=parts[0].version if len(parts) == 1 else "0",
            description=parts[0].description if len(parts) == 1 else "",
            steps=composition.steps(),
            env=composition.env(),
            skills=self.skills,
            resources=composition.resources(),
            policy=composition.policy(),
            parts=self.parts,
            python=_python(),
            fingerprint=self.fingerprint,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        if LIVE in self.__dict__:
            return f"<{type(self).__name__} running>"
        names = ", ".join(s.name for s in self.skills)
        return f"<Box {self.name} {self.fingerprint[:12]} skills: {names or 'none'}>"

    def __getattr__(self, name: str) -> Any:
        """Inside a skill, a sibling part's skill; a value has no such thing, so this is the error there."""
        return sibling_of(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """``self`` of a skill is a plain object; a Box is a value."""
        if LIVE not in self.__dict__:
            raise AttributeError(f"box {self.name!r} is a value and does not change; its methods return new ones")
        object.__setattr__(self, name, value)

    # --- making -------------------------------------------------------------------------------------------------------

    def _become(self, name: str, composition: Composition, blobs: dict[str, bytes]) -> Self:
        self.__dict__.update(name=name, _composition=composition, _blobs=blobs)
        return self

    @staticmethod
    def _made(name: str, composition: Composition, blobs: dict[str, bytes]) -> Box:
        return object.__new__(Box)._become(name, composition, dict(blobs))

    def _own_part(self, verb: str) -> Part:
        """The one part that a building verb changes; of a composition the parts must be built before."""
        parts = self._composition.parts
        if len(parts) != 1:
            raise InvalidInput(f".{verb}() builds a single Box; {self.name!r} has {len(parts)} parts, build those")
        part: Part = parts[0]
        return part

    def _with(self, blobs: dict[str, bytes] | None = None, *, steps: tuple[Any, ...]) -> Box:
        part = self._own_part("steps")
        return self._with_parts((replace(part, steps=part.steps + steps),), blobs)

    def _replace(self, part: Part, **changes: Any) -> Box:
        return self._with_parts((replace(part, **changes),))

    def _with_parts(self, parts: Iterable[Part], blobs: dict[str, bytes] | None = None) -> Box:
        return self._made(self.name, self._composition.with_parts(parts), self._blobs if blobs is None else blobs)


Box.empty = Box._made("empty", Composition(), {})


def _joined(names: list[str]) -> str:
    joined = "-".join(names)
    return joined if len(joined) <= 63 else f"{joined[:50].rstrip('-_')}-{blob_hash(joined.encode())[:12]}"


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _platform() -> str:
    return f"{platform.system()}-{platform.machine()}-{sys.implementation.name}-{_python()}"
