"""`Box`: a value that binds skills to an environment, and composes.

Two styles give the same thing::

    class Coffee(Box, packages=["requests"], env={"CUP": "large"}):
        @skill
        def buy_coffee(self, kind: str) -> str: ...


    coffee = Box("coffee").pip("requests").env(CUP="large").skill(buy_coffee)

Calling a class makes its value, ``Coffee()``; every method that changes something returns a new value.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from box_agent.box.composition import QUALIFIER, Composition
from box_agent.box.part import Part
from box_agent.box.program import LIVE, Program, Surroundings, sibling_of
from box_agent.box.skill import options_of, skill_name, spec_of
from schemas.box import BoxDefinition, FilesStep, PipStep, Policy, Resources, RunStep, SkillSpec
from schemas.errors import CompositionConflict, InvalidInput
from schemas.ids import check_name
from schemas.tree import blob_hash, split_path

if TYPE_CHECKING:
    from box_agent.live import SyncLiveBox

Content = str | bytes | Path


class Box:
    """Immutable; equal by fingerprint. See the module's docstring for the two ways to define one.

    A subclass may define ``setup(self)``: it runs once in the warm template, before any live box is forked from it, so
    what it imports and computes costs nothing at spawn.
    """

    name: str = ""
    empty: ClassVar[Box]
    """The identity of ``+``: nothing in it."""

    _options: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: str = "0",
        description: str | None = None,
        packages: Iterable[str] = (),
        files: Mapping[str, Content] | None = None,
        commands: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        resources: Resources | None = None,
        policy: Policy | None = None,
        **kwargs: Any,
    ) -> None:
        """Class keywords are the environment; a subclass adds to its parent's and overrides it."""
        super().__init_subclass__(**kwargs)
        parent = cls._options
        if name is None:
            name = cls.__dict__.get("name") or _kebab(cls.__name__)
        cls.name = check_name(name, "box")
        cls._options = {
            "version": version,
            "description": description if description is not None else (cls.__doc__ or "").partition("\n")[0],
            "packages": [*parent.get("packages", ()), *packages],
            "files": {**parent.get("files", {}), **(files or {})},
            "commands": [*parent.get("commands", ()), *commands],
            "env": {**parent.get("env", {}), **(env or {})},
            "resources": resources or parent.get("resources"),
            "policy": policy or parent.get("policy"),
        }

    def __init__(self, name: str | None = None) -> None:
        cls = type(self)
        blobs: dict[str, bytes] = {}
        if cls is Box:
            part = Part(name=check_name(name or "box", "box"))
        else:
            part = _part_of(cls, blobs)
            if name is not None:
                part = replace(part, name=check_name(name, "box"))
        self._become(part.name, Composition((part,)), blobs)

    # --- building -----------------------------------------------------------------------------------------------------

    def files(self, files: Mapping[str, Content]) -> Box:
        """With these files in the box's directory: relative path → text, bytes, or the local file to take."""
        blobs = dict(self._blobs)
        return self._with(blobs, steps=(_files_step(files, blobs),))

    def pip(self, *packages: str) -> Box:
        """With these packages, as ``pip install`` takes them; installed once into a cached layer."""
        return self._with(steps=(PipStep(packages=list(packages)),))

    def run(self, command: str, *, timeout_s: float | None = None) -> Any:
        """On a value: with this shell command as a step of the environment; returns the new Box.

        On ``self`` inside a skill: runs the command in the box's directory now and returns its result; the whole
        process tree ends with the timeout, or with the skill.
        """
        live = self.__dict__.get(LIVE)
        if live is not None:
            surroundings: Surroundings = live.surroundings
            return surroundings.run(command, timeout_s=timeout_s)
        return self._with(steps=(RunStep(command=command, timeout_s=timeout_s or 600),))

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
        limits = Resources(**resources).model_dump(exclude_none=True)
        return self._replace(part, resources=part.resources.model_copy(update=limits))

    def named(self, name: str) -> Box:
        """The same Box under another name; the fingerprint stays."""
        return self._made(check_name(name, "box"), self._composition, self._blobs)

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
        """With skills under other names: ``shop.rename(buy="buy_coffee")``."""
        unknown = sorted(set(names) - {n for p in self._composition.parts for n in p.skills})
        if unknown:
            raise InvalidInput(f"box {self.name!r} has no skill {', '.join(map(repr, unknown))} to rename")
        parts = tuple(
            replace(
                part,
                skills={names.get(n, n): how for n, how in part.skills.items()},
                specs={names.get(n, n): s.model_copy(update={"name": names.get(n, n)}) for n, s in part.specs.items()},
            )
            for part in self._composition.parts
        )
        made = Composition(parts, self._composition.preferences)
        made.check()
        return self._made(self.name, made, self._blobs)

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
        composition, found = self._composition, []
        hidden = set(composition.hidden())
        for name, route in sorted(composition.routes().items()):
            if QUALIFIER not in name or name in hidden:
                found.append(composition.parts[route.part].specs[route.attribute].model_copy(update={"name": name}))
        return found

    @property
    def parts(self) -> list[str]:
        """Names of what it was composed from, lowest first."""
        return [p.name for p in self._composition.parts]

    def schema(self) -> dict[str, Any]:
        """Skill name → JSON Schema of its input and output."""
        return {s.name: {"input": s.input_schema, "output": s.output_schema} for s in self.skills}

    def pack(self) -> tuple[BoxDefinition, dict[str, bytes]]:
        """The definition for the wire and every blob it refers to, by hash; costs a few milliseconds."""
        composition = self._composition
        blobs = dict(self._blobs)
        code = ""
        if any(p.skills for p in composition.parts):
            data = Program.of(composition).pack()
            code = blob_hash(data)
            blobs[code] = data
        parts = composition.parts
        definition = BoxDefinition(
            name=self.name,
            version=parts[0].version if len(parts) == 1 else "0",
            description=parts[0].description if len(parts) == 1 else "",
            steps=composition.steps(),
            env=composition.env(),
            skills=self.skills,
            resources=composition.resources(),
            policy=composition.policy(),
            code=code,
            parts=self.parts,
            python=_python(),
            fingerprint=self.fingerprint,
        )
        return definition, blobs

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

    # --- acting: as the attached agent of this name, in this process --------------------------------------------------

    def spawn(self, **options: Any) -> SyncLiveBox:
        """A live box, ready; its skills are methods. Options: ``branch``, ``isolation``, ``node``, ``timeout_s``."""
        from box_agent import sync

        return sync.agent_for(self.name).spawn(self, **options)

    def send_message(self, to: Any, data: Any = None, **options: Any) -> str:
        """Send to another Box; returns the message id when it is stored."""
        from box_agent import sync

        return str(sync.agent_for(self.name).send_message(to, data, **options))

    def publish_event(self, name: str, data: Any = None, **options: Any) -> int:
        """Publish to whoever subscribed; returns the sequence when it is stored."""
        from box_agent import sync

        return int(sync.agent_for(self.name).publish_event(name, data, **options))

    def on_event(self, pattern: str, handler: Callable[[Any], Any], **options: Any) -> Any:
        """Call ``handler(event)``, in a thread of its own, for every event that fits."""
        from box_agent import sync

        return sync.agent_for(self.name).on_event(pattern, handler, **options)

    def on_message(self, handler: Callable[[Any], Any], **options: Any) -> Any:
        """Call ``handler(message)`` for everything sent to this Box's name."""
        from box_agent import sync

        return sync.agent_for(self.name).on_message(handler, **options)

    def call(self, box: Any, skill: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a skill of another box and wait for its result."""
        from box_agent import sync

        return sync.agent_for(self.name).call(box, skill, *args, **kwargs)

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
        made = replace(part, steps=part.steps + steps)
        return self._made(self.name, Composition((made,), self._composition.preferences), blobs or self._blobs)

    def _replace(self, part: Part, **changes: Any) -> Box:
        return self._made(
            self.name, Composition((replace(part, **changes),), self._composition.preferences), self._blobs
        )


Box.empty = Box._made("empty", Composition(), {})


def _part_of(cls: type[Box], blobs: dict[str, bytes]) -> Part:
    options = cls._options
    skills: dict[str, str | Callable[..., Any]] = {}
    specs: dict[str, SkillSpec] = {}
    for attribute in dir(cls):
        fn = getattr(cls, attribute, None)
        if callable(fn) and options_of(fn) is not None:
            name = skill_name(fn)
            skills[name] = attribute
            specs[name] = spec_of(fn)
    steps: list[Any] = []
    if options["files"]:
        steps.append(_files_step(options["files"], blobs))
    if options["packages"]:
        steps.append(PipStep(packages=list(options["packages"])))
    steps.extend(RunStep(command=command) for command in options["commands"])
    return Part(
        name=cls.name,
        version=options["version"],
        description=options["description"],
        steps=tuple(steps),
        env=tuple(sorted(options["env"].items())),
        cls=cls,
        skills=skills,
        specs=specs,
        resources=options["resources"] or Resources(),
        policy=options["policy"] or Policy(),
    )


def _files_step(files: Mapping[str, Content], blobs: dict[str, bytes]) -> FilesStep:
    hashes: dict[str, str] = {}
    for path, content in sorted(files.items()):
        split_path(path)
        try:
            data = content.read_bytes() if isinstance(content, Path) else content
        except OSError as error:
            raise InvalidInput(f"file {path!r}: {error.strerror}", path=path) from error
        raw = data.encode() if isinstance(data, str) else bytes(data)
        hashes[path] = blob_hash(raw)
        blobs[hashes[path]] = raw
    return FilesStep(files=hashes)


def _kebab(name: str) -> str:
    """``CoffeeShop`` → ``coffee-shop``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower().strip("_")


def _joined(names: list[str]) -> str:
    joined = "-".join(names)
    return joined if len(joined) <= 63 else f"{joined[:50].rstrip('-_')}-{blob_hash(joined.encode())[:12]}"


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _platform() -> str:
    return f"{platform.system()}-{platform.machine()}-{sys.implementation.name}-{_python()}"
