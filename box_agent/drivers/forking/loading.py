"""A Box's code on its way into a template: into one that has nothing yet, or on top of one that has its lower parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.peers import close_all
from box_agent.drivers.forking.templates import TemplateGone, TemplateProcess
from schemas.box import BoxDefinition, Policy
from schemas.errors import BoxDied, BoxhubError

_SETUP_S: Final = 600.0

Late = Literal["", "setup", "code"]
"""What every box has to do by itself, because a fork would not carry over what it makes."""


class Unclean(Exception):
    """``setup``, or an import, made something that a fork does not carry over; ``late`` is how it works then."""

    def __init__(self, why: str, late: Late) -> None:
        again = "it runs again" if late == "setup" else "its code is loaded again"
        super().__init__(f"{why}; so {again} in every box")
        self.late = late


class Apart(Exception):
    """What is loaded already would have come out differently with this on top of it."""


def below(definition: BoxDefinition) -> BoxDefinition | None:
    """The Box that its longest prefix is; ``None`` where it stands on none."""
    if not definition.prefixes:
        return None
    *lower, prefix = definition.prefixes
    return BoxDefinition(
        name=" + ".join(prefix.parts),
        steps=definition.steps[: prefix.steps],
        env=prefix.env,
        policy=Policy(**definition.policy.model_dump(include={"network", "ports", "mounts"})),
        code=prefix.code,
        prefixes=lower,
        parts=prefix.parts,
        python=definition.python,
        fingerprint=prefix.fingerprint,
    )


async def load(
    process: TemplateProcess, definition: BoxDefinition, seen: Environment, codes: Sequence[Path], log: Path, late: Late
) -> None:
    """Code, imports, ``setup``; what they print goes to ``log``. ``seen``: the environment as the template has it.

    Raises `Unclean`, `Apart`, what ``setup`` raised, `BoxDied` when the template ended meanwhile. It is of no use then.
    """
    order = {
        "op": "load",
        "directory": str(seen.directory),
        "env": dict(seen.variables),
        "sys_path": [str(seen.directory), *map(str, seen.packages)],
        "late": late,
    }
    fds = [os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)]
    try:
        for code in codes:
            fds.append(os.open(code, os.O_RDONLY | os.O_CLOEXEC))
        answer = (await process.order(order, fds, _SETUP_S)).content
    except TemplateGone as error:
        raise BoxDied(f"the template of {definition.name!r} died while it was set up: {_tail(log)}") from error
    except BoxhubError as error:
        error.details.update(box=definition.name, output=_tail(log))
        raise
    finally:
        close_all(tuple(fds))
    if "apart" in answer:
        raise Apart(str(answer["apart"]))
    if "unclean" in answer:
        raise Unclean(str(answer["unclean"]), "code" if answer["late"] == "code" else "setup")


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-4000:].strip()
    except OSError:
        return ""
