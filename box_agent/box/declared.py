"""A class as a `Part`: what its keywords declare, inherited and overridden, and what its body defines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from box_agent.box.identity import members_of
from box_agent.box.part import Part
from box_agent.box.skill import options_of, skill_name, spec_of
from schemas.box import FilesStep, PipStep, Policy, Resources, RunStep, SkillSpec, Step
from schemas.errors import InvalidInput
from schemas.tree import blob_hash, split_path

Content = str | bytes | Path
Requirement = str | Path
M = TypeVar("M", bound=BaseModel)
OPTIONS: Final = "_options"
_OWN: Final = frozenset({"name", "empty", "setup"})
_KEPT: Final = frozenset({"env", "fingerprint", "name", "pack", "parts", "run", "setup", "skills", "spawn"})
"""Names of a Box that a skill must not hide: the platform, or the skill's own siblings, count on them."""


@dataclass(frozen=True)
class Options:
    """Keywords of one class statement."""

    version: str = "0"
    description: str | None = None
    packages: tuple[Requirement, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    policy: Policy | None = None


def part_of(cls: type, name: str, below: type, blobs: dict[str, bytes]) -> Part:
    """The Part that ``cls`` declares; bytes of its files go into ``blobs``. ``below``: where its ancestors end."""
    options = _inherited(cls)
    skills: dict[str, str | Callable[..., Any]] = {}
    specs: dict[str, SkillSpec] = {}
    for attribute in dir(cls):
        fn = getattr(cls, attribute, None)
        if callable(fn) and options_of(fn) is not None:
            public = skill_name(fn)
            if attribute in _KEPT:
                raise InvalidInput(
                    f"box {name!r}: a skill called {attribute!r} hides Box.{attribute}; call the method something else "
                    f'and say @skill(name="{public}")'
                )
            skills[public] = attribute
            specs[public] = spec_of(fn)
    setup = getattr(cls, "setup", None)
    return Part(
        name=name,
        version=options.version,
        description=options.description or "",
        steps=_steps(options, blobs),
        env=tuple(sorted(options.env.items())),
        cls=cls,
        members=members_of(cls, _OWN.union(v for v in skills.values() if isinstance(v, str)), below),
        setups=() if setup is None else (setup,),
        skills=skills,
        specs=specs,
        resources=options.resources or Resources(),
        policy=options.policy or Policy(),
    )


def _inherited(cls: type) -> Options:
    """What a child says goes over what its parents say; their steps come first."""
    packages: list[Requirement] = []
    commands: list[str] = []
    files: dict[str, Content] = {}
    env: dict[str, str] = {}
    resources, policy = Resources(), None
    for ancestor in reversed(cls.__mro__):
        said = vars(ancestor).get(OPTIONS)
        if isinstance(said, Options):
            packages.extend(p for p in said.packages if p not in packages)
            commands.extend(said.commands)
            files |= said.files
            env |= said.env
            if said.resources is not None:
                resources = resources.model_copy(update=said.resources.model_dump(exclude_unset=True))
            policy = said.policy or policy
    own: Options = vars(cls).get(OPTIONS, Options())
    about = own.description if own.description is not None else (cls.__doc__ or "").partition("\n")[0]
    return Options(own.version, about, tuple(packages), files, tuple(commands), env, resources, policy)


def _steps(options: Options, blobs: dict[str, bytes]) -> tuple[Step, ...]:
    steps: list[Step] = []
    if options.files:
        steps.append(files_step(options.files, blobs))
    if options.packages:
        steps.append(pip_step(options.packages, blobs))
    steps.extend(RunStep(command=command) for command in options.commands)
    return tuple(steps)


def files_step(files: Mapping[str, Content], blobs: dict[str, bytes]) -> FilesStep:
    """Relative path → text, bytes, a local file, or a local directory with all that is in it."""
    hashes: dict[str, str] = {}
    for path, content in sorted(files.items()):
        if isinstance(content, Path) and content.is_dir():
            for file in sorted(p for p in content.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
                _take(f"{path.rstrip('/')}/{file.relative_to(content).as_posix()}", file, hashes, blobs)
        else:
            _take(path, content, hashes, blobs)
    return FilesStep(files=dict(sorted(hashes.items())))


def pip_step(packages: Iterable[Requirement], blobs: dict[str, bytes], expires_s: float | None = None) -> PipStep:
    """Requirements as they are; a `Path` is a wheel or source archive that travels with the Box."""
    wheels: dict[str, str] = {}
    requirements: list[str] = []
    for package in packages:
        if isinstance(package, Path):
            if not package.name.endswith((".whl", ".tar.gz", ".zip")):
                raise InvalidInput(f"{package.name!r} is no package file: build a wheel (.whl) or .tar.gz of it first")
            _take(package.name, package, wheels, blobs)
        else:
            requirements.append(package)
    return checked(PipStep, packages=requirements, wheels=wheels, expires_s=expires_s)


def checked(model: type[M], **fields: Any) -> M:
    """``model(**fields)``. Raises `InvalidInput` that says the first thing that is wrong."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or model.__name__
        raise InvalidInput(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def _take(path: str, content: Content, hashes: dict[str, str], blobs: dict[str, bytes]) -> None:
    split_path(path)
    try:
        data = content.read_bytes() if isinstance(content, Path) else content
    except OSError as error:
        raise InvalidInput(f"file {path!r}: {error.strerror}", path=path) from error
    raw = data.encode() if isinstance(data, str) else bytes(data)
    hashes[path] = blob_hash(raw)
    blobs[hashes[path]] = raw


def kebab(name: str) -> str:
    """``CoffeeShop`` → ``coffee-shop``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower().strip("_")
