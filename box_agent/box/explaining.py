"""What a definition is made of, for people: its layers, their fingerprints, and what is worth knowing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from schemas.box import BoxDefinition, Explanation, FilesStep, Layer, PipStep, Step

_NAMES = 4
"""Of the files or packages of a step that are listed."""


def explain(definition: BoxDefinition, platform: str = "", parts: Sequence[str] = ()) -> Explanation:
    """Without asking a node, so nothing is said of what is cached. ``parts``: which one each step comes from."""
    layers: list[Layer] = []
    below = hashlib.sha256((platform or definition.python).encode()).hexdigest()
    for index, step in enumerate(definition.steps):
        content = json.dumps([below, step.model_dump(mode="json")], sort_keys=True)
        below = hashlib.sha256(content.encode()).hexdigest()
        part = parts[index] if index < len(parts) else ""
        layers.append(Layer(kind=step.kind, what=_what(step), part=part, fingerprint=below, impure=step.impure))
    skills = ", ".join(skill.name for skill in definition.skills) or "none"
    layers.append(Layer(kind="template", what=f"skills: {skills}", fingerprint=definition.fingerprint))
    return Explanation(
        name=definition.name,
        fingerprint=definition.fingerprint,
        platform=platform or f"Python {definition.python}",
        parts=definition.parts,
        layers=layers,
        notes=_notes(definition),
    )


def _what(step: Step) -> str:
    if isinstance(step, FilesStep):
        return _some(list(step.files))
    if isinstance(step, PipStep):
        return _some([*step.packages, *step.wheels])
    return step.command


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _notes(definition: BoxDefinition) -> list[str]:
    notes = list(definition.together)
    for step in definition.steps:
        if step.impure and step.lasts_s:
            notes.append(f"{_what(step)}: {step.impure}, so it is made again when it is older than {step.lasts_s:g} s")
    for skill in definition.skills:
        part, qualified, name = skill.name.partition("--")
        if qualified:
            notes.append(f"skill {name!r} of {part!r} lost to a preferred one; it is reached as {skill.name!r}")
        if skill.secrets:
            notes.append(f"skill {skill.name!r} is granted: {', '.join(skill.secrets)}")
    return notes
